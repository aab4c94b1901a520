"""Granian for HTTPS: a group of edge processes that takes another certificate without cutting anybody off.

Granian reads the certificate when a process starts, so another one wants other processes. Left to itself it would
close each old listening socket with whatever waits there, and the handshakes under way. Here the sockets are the
group's and outlive its processes: the new ones accept from the same queues, the old ones leave (`edge.leaving`) and
are stopped once nobody needs them. What is overridden here is Granian's inside, so its version is pinned, and
`test_another_certificate_is_served_and_no_request_fails` measures it.
"""

import logging
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from granian.net import SocketSpec
from granian.server.mp import MPServer

from catchment.edge.leaving import LEAVE, close_inherited

_STARTS_WITHIN_S = 2.0
_LEAVES_WITHIN_S = 2.0

logger = logging.getLogger(__name__)


class EdgeGroup(MPServer):
    """See above; everything else is Granian's."""

    _shd: Any

    def _init_shared_socket(self) -> None:
        spec = SocketSpec(self.bind_addr, self.bind_port, self.backlog)
        self._listeners = [spec.build() for _ in range(self.workers)]
        self._sso = None

    def _drop_shared_socket(self) -> None:
        close_inherited([listener.get_fd() for listener in self._listeners])

    def _spawn_worker(self, idx: Any, target: Any, callback_loader: Any) -> Any:  # type: ignore[override]
        own = self._listeners[idx]
        self._ssp, self._shd = None, own
        others = [listener.get_fd() for listener in self._listeners if listener is not own]
        return super()._spawn_worker(idx, target, partial(_in_worker, others, callback_loader))

    def _reload(self, spawn_target: Any, target_loader: Any) -> None:
        """Called by Granian's main loop after `signal_handler_reload`. SIGTERM meanwhile ends the waiting."""
        self.reload_signal = False
        self.main_loop_interrupt.clear()
        old: list[Any] = self.wrks
        self.wrks: list[Any] = []
        for index in range(self.workers):
            worker = self._spawn_worker(index, spawn_target, target_loader)
            worker.start()
            self.wrks.append(worker)
        self.main_loop_interrupt.wait(_STARTS_WITHIN_S)
        for worker in old:
            if worker.is_alive():
                os.kill(worker._id(), LEAVE)
        self.main_loop_interrupt.wait(_LEAVES_WITHIN_S)
        for worker in old:
            worker.terminate()
        for worker in old:
            worker.join(self.workers_kill_timeout)
            if worker.is_alive():
                worker.kill()
                worker.join()
        logger.info("edge: serves another certificate")


def _in_worker(others: list[int], load: Callable[[], Any]) -> Any:
    close_inherited(others)
    return load()
