"""The parent of the edge processes: Granian's, but for what it tells and what it waits with.

- Granian says that a process has ended, and neither which nor of what. Here the log output says both, and what follows
  where one ends again right after its start, upon which Granian ends all of them.
- Granian's handlers of signals set a `threading.Event`, for which its main loop waits. A signal that comes while that
  very loop holds the event's lock would wait for itself for ever. Here the main loop waits with a `Wake`.
- Granian lets go of everything where a process cannot be started: its main loop ends, and those that were started
  before go on for ever, with nobody that would replace or stop them. Here that is tried again until it works, without
  another thread, for which there may be no room either.

What is overridden here is Granian's inside, so its version is pinned.
"""

import errno
import logging
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from granian.server.mp import MPServer

from catchment.parts import ending

_ROOM_AGAIN_AFTER_S = 1.0
_POLL_S = 0.1
_GRANIANS = logging.getLogger("_granian")
_CRASH_LOOP = "Worker crash loop detected, exiting"
_IN_OUR_WORDS = "edge: a process ended within seconds after the one before it; all of them are stopped and started anew"

logger = logging.getLogger(__name__)


class Wake:
    """What the main loop uses of a `threading.Event`, without a lock: any thread and any handler of a signal may set
    it. One thread waits; it is woken within `_POLL_S`. No pipe: a process that was just forked would wake its parent.
    """

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        """Whoever waits goes on."""
        self._set = True

    def clear(self) -> None:
        """From now on it is waited for again."""
        self._set = False

    def wait(self, seconds: float = float("inf")) -> bool:
        """Whether it was set by then, or before; it does not wait then."""
        deadline = time.monotonic() + seconds
        while not self._set and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, _POLL_S))
        return self._set


class EdgeParent(MPServer):
    """See above; everything else is Granian's."""

    main_loop_interrupt: Any
    wrks: list[Any]

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.main_loop_interrupt = Wake()
        _GRANIANS.addFilter(_translated)

    def _spawn_worker(self, idx: Any, target: Any, callback_loader: Any) -> Any:  # type: ignore[override]
        worker: Any = super()._spawn_worker(idx, target, partial(_in_worker, callback_loader))
        worker._watcher = partial(self._await_end, worker)
        return worker

    def _spawn_workers(self, spawn_target: Any, target_loader: Any) -> None:
        """All or none: whoever started this process tries again."""
        for index in range(self.workers):
            worker = self._spawn_worker(index, spawn_target, target_loader)
            try:
                start(worker)
            except OSError:
                for before in self.wrks:
                    before.kill()
                raise
            self.wrks.append(worker)

    def _respawn_workers(self, workers: Sequence[int], spawn_target: Any, target_loader: Any, delay: float = 0) -> None:
        """Puts another process in the place of each; for as long as none can be started, those that run go on."""
        for index in workers:
            worker = self._started(index, spawn_target, target_loader)
            if worker is None:
                break
            self.respawned_wrks[index] = time.monotonic()
            old: Any = self.wrks[index]
            self.wrks[index] = worker
            time.sleep(delay)
            old.terminate()
            old.join(self.workers_kill_timeout)
            if old.is_alive():
                old.kill()
                old.join()
        if self.interrupt_signal or self.interrupt_children:
            self.main_loop_interrupt.set()  # the waiting may have cleared it

    def _started(self, index: int, spawn_target: Any, target_loader: Any) -> Any:
        """One process more, as soon as there is room for it; None where SIGTERM comes first."""
        told = False
        while not self.interrupt_signal:
            worker: Any = self._spawn_worker(index, spawn_target, target_loader)
            try:
                start(worker)
            except OSError as error:
                if not told:
                    logger.error("edge: no new process can be started now, and it is tried again: %s", error.strerror)
                told = True
                self.wait_for(_ROOM_AGAIN_AFTER_S)
            else:
                return worker
        return None

    def wait_for(
        self, seconds: float, ending: Sequence[Any] | None = None, meanwhile: Callable[[], None] = lambda: None
    ) -> None:
        """Waits so long, or until those that are `ending` have all ended, or SIGTERM comes."""
        deadline = time.monotonic() + seconds
        while not self.interrupt_signal and (left := deadline - time.monotonic()) > 0:
            if ending is not None and not any(worker.is_alive() for worker in ending):
                break
            self.main_loop_interrupt.wait(min(left, _POLL_S))
            self.main_loop_interrupt.clear()  # what it was set for is looked at here, or by the main loop afterwards
            meanwhile()

    def _await_end(self, worker: Any) -> None:
        """In a thread for each process, as Granian's own: has one that ended by itself replaced, and tells of it."""
        worker.inner.join()
        if worker.interrupt_by_parent:
            return
        what = ending(worker.inner.exitcode)
        if not self.interrupt_signal:
            what += "; another one takes its place, and what this one had accepted is on the disk"
        logger.error("edge: process %d %s", worker._id(), what)
        self.interrupt_children.append(worker.idx)
        self.main_loop_interrupt.set()


def _in_worker(load: Callable[[], Any]) -> Any:
    """Until Granian has set its own, a SIGTERM would be handled as in the parent, and be lost."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return load()


def _translated(record: logging.LogRecord) -> bool:
    if record.msg == _CRASH_LOOP:
        record.msg = _IN_OUR_WORDS
    return True


def start(worker: Any) -> None:
    """Raises `OSError` where the system has no room for it, or for the thread that waits for its end."""
    try:
        worker.start()
    except RuntimeError as error:
        worker.kill()
        worker.join()
        raise OSError(errno.EAGAIN, str(error)) from None
