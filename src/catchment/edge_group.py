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
from contextlib import suppress
from functools import partial
from typing import Any

from granian.net import SocketSpec

from catchment.edge.leaving import LEAVE, close_inherited
from catchment.edge_parent import EdgeParent, start

_STARTS_WITHIN_S = 2.0
_LEAVES_WITHIN_S = 10.0  # a handshake over a bad network takes seconds; nobody waits for this
_AGAIN_AFTER_S = 10.0

logger = logging.getLogger(__name__)


class EdgeGroup(EdgeParent):
    """See above; everything else is its parent's."""

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
        """Called by Granian's main loop after `signal_handler_reload`. SIGTERM meanwhile ends the waiting, and the main
        loop then stops all that there are."""
        self.reload_signal = False
        self.respawned_wrks.clear()
        old: list[Any] = self.wrks
        new = self._spawned(spawn_target, target_loader)
        self.wrks = old + new
        self.wait_for(_STARTS_WITHIN_S)
        if not self.interrupt_signal:
            came = len(new) == self.workers and all(worker.is_alive() for worker in new)
            self.wrks, leaving = (new, old) if came else (old, new)
            self.interrupt_children[:] = [worker.idx for worker in self.wrks if not worker.is_alive()]
            if not came:
                logger.error(
                    "edge: the new processes, with another certificate, ended at once; those before stay, with theirs."
                    " This is tried again in %.0f s; what they told before says why",
                    _AGAIN_AFTER_S,
                )
            meanwhile = partial(self._replace_dead, spawn_target, target_loader)
            self._let_leave(leaving, meanwhile, replaced=came)
            if not came:
                self.wait_for(_AGAIN_AFTER_S, meanwhile=meanwhile)
                self.reload_signal = True
        if self.interrupt_signal or self.interrupt_children or self.reload_signal:
            self.main_loop_interrupt.set()

    def _spawned(self, spawn_target: Any, target_loader: Any) -> list[Any]:
        """New processes, fewer than are wanted where the system does not give more."""
        new: list[Any] = []
        for index in range(self.workers):
            worker = self._spawn_worker(index, spawn_target, target_loader)
            try:
                start(worker)
            except OSError as error:
                logger.error("edge: no new process can be started: %s", error.strerror)
                break
            new.append(worker)
        return new

    def _let_leave(self, workers: list[Any], meanwhile: Callable[[], None], *, replaced: bool) -> None:
        """Lets them finish what they have, all at the same time, and stops them."""
        for worker in workers:
            worker.interrupt_by_parent = True  # whatever it dies of, it is not to be replaced
            with suppress(ProcessLookupError):
                if worker.is_alive():
                    os.kill(worker._id(), LEAVE)
        self.wait_for(_LEAVES_WITHIN_S, workers, meanwhile)
        if replaced and not self.interrupt_signal:
            logger.info("edge: serves another certificate")
        for worker in workers:
            worker.terminate()
        self.wait_for(self.workers_kill_timeout or 0.0, workers, meanwhile)
        if self.interrupt_signal:
            self.wrks = self.wrks + workers  # they have as long as the others now
            return
        for worker in workers:
            if worker.is_alive():
                worker.kill()
            worker.join()

    def _replace_dead(self, spawn_target: Any, target_loader: Any) -> None:
        """Replaces each that has died, once; one that dies again is the main loop's, which gives up on such."""
        dead = {index for index in self.interrupt_children if index not in self.respawned_wrks}
        self.interrupt_children[:] = [index for index in self.interrupt_children if index not in dead]
        self._respawn_workers([index for index in dead if not self.wrks[index].is_alive()], spawn_target, target_loader)


def _in_worker(others: list[int], load: Callable[[], Any]) -> Any:
    close_inherited(others)
    return load()
