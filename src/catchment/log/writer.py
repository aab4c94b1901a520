"""Appends to the local log: group commit.

Requests that arrive while one fsync runs wait for the next one together: a thread takes all that has gathered, writes
it as one group, syncs, and only then are their futures done. `Folder` has the segments; this has the queue, its bound,
and the futures.

What was appended before anybody could know that an append before it failed, fails with it, and is not written: it may
build on that one, as the edge's running totals do (docs/decisions/0007). So the queue has eras, and a failure ends one.
"""

import asyncio
import logging
import threading
import time
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NamedTuple, Protocol

from catchment.errors import LogUnavailable
from catchment.log.disk import Disk
from catchment.log.folder import Folder
from catchment.settings import Log

IDLE_LOOK_S = 60.0  # while nothing is appended, whether the segment has become old
FAILING_S = 30.0  # after a failure, if nothing is appended since: else whoever goes elsewhere for it never comes back
CALM_S = 0.2  # after a failure nothing is tried for a while: each try may leave a torn segment on a full disk

logger = logging.getLogger(__name__)


class _Append(NamedTuple):
    """Lines that wait, who waits for them, and in which era they were appended."""

    lines: bytes
    future: "Future[None]"
    era: int


class CommitWatch(Protocol):
    """Is told of each group of appends, on the log's thread."""

    def synced(self, appends: int, size: int, seconds: float) -> None:
        """So many appends and bytes are durable; writing and syncing them took so long."""
        ...

    def failed(self) -> None:
        """The disk did not take a group."""
        ...


class SegmentWriter:
    """`LogWriter` on local segments; `loop` is the event loop that it is called from.

    A test that wants to say when what happens has it not run in the `background`, and calls `commit_waiting` itself.
    """

    def __init__(
        self,
        disk: Disk,
        root: Path,
        settings: Log,
        *,
        loop: AbstractEventLoop,
        clock: Callable[[], float] = time.monotonic,
        background: bool = True,
        watched_by: CommitWatch | None = None,
    ) -> None:
        self._folder = Folder(disk, root, settings, clock=clock)
        self._settings = settings
        self._loop = loop
        self._clock = clock
        self._watched_by = watched_by
        self._queue: SimpleQueue[_Append | None] = SimpleQueue()
        self._unsynced_bytes = 0
        self._closing = False
        self._failed_at: float | None = None
        self._era = 0  # of what is appended now; only the event loop has it
        self._failed_era = -1  # the last one that ended; only the thread has it
        self._thread = threading.Thread(target=self._run, name=f"log-{self.name}", daemon=True) if background else None
        if self._thread:
            self._thread.start()

    @property
    def name(self) -> str:
        """The folder's name, which is the writer's."""
        return self._folder.name

    @property
    def number(self) -> int:
        """See `LogWriter`."""
        return self._folder.number

    @property
    def unsynced_bytes(self) -> int:
        """Bytes that wait for an fsync."""
        return self._unsynced_bytes

    @property
    def failing(self) -> bool:
        """See `LogWriter.failing`."""
        failed_at = self._failed_at
        return failed_at is not None and self._clock() - failed_at < FAILING_S

    def append(self, lines: bytes) -> "Future[None]":
        """See `LogWriter.append`."""
        if self._closing:
            raise LogUnavailable("the log is closing", cause="stopping")
        failed_at = self._failed_at  # once, for the log's thread may forget it at any moment
        if failed_at is not None and self._clock() - failed_at < CALM_S:
            raise LogUnavailable("the log's disk failed a moment ago", cause="disk")
        if self._unsynced_bytes + len(lines) > self._settings.unsynced_bytes_max:
            raise LogUnavailable("too many bytes are waiting for the disk", cause="unsynced_bytes")
        future: Future[None] = self._loop.create_future()
        self._unsynced_bytes += len(lines)
        self._queue.put(_Append(lines, future, self._era))
        return future

    async def close(self) -> None:
        """See `LogWriter.close`."""
        if not self._closing:
            self._closing = True
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join if self._thread else self._run)

    def commit_waiting(self) -> bool:
        """Makes all that has gathered durable, as one group; waits until there is something, or a while. False once it
        is the last."""
        try:
            gathered = [self._queue.get(timeout=IDLE_LOOK_S)]
        except Empty:
            self._folder.end_old_segment()
            return True
        gathered += [self._queue.get_nowait() for _ in range(self._queue.qsize())]
        appends = [append for append in gathered if append is not None]
        late = [append for append in appends if append.era <= self._failed_era]
        if late:
            self._loop.call_soon_threadsafe(
                self._settle, late, LogUnavailable("an append before it failed", cause="disk")
            )
            appends = [append for append in appends if append.era > self._failed_era]
        if appends:
            error = self._commit(appends)
            self._loop.call_soon_threadsafe(self._settle, appends, error)
        return gathered[-1] is not None

    def _run(self) -> None:
        while self.commit_waiting():
            pass
        self._folder.close()

    def _commit(self, appends: list[_Append]) -> Exception | None:
        started = time.perf_counter()
        try:
            self._folder.commit([append.lines for append in appends])
        except Exception as error:  # whatever it is, requests wait for an answer
            self._failed_era = appends[-1].era
            self._note_failure(error)
            return error
        if self._watched_by:
            size = sum(len(append.lines) for append in appends)
            self._watched_by.synced(len(appends), size, time.perf_counter() - started)
        if self._failed_at is not None:
            logger.warning("log: %s takes appends again", self.name)
        self._failed_at = None
        return None

    def _note_failure(self, error: Exception) -> None:
        if self._watched_by:
            self._watched_by.failed()
        if self._failed_at is None:
            logger.error("log: %s takes nothing, and everything is answered 503: %s", self.name, error)
        self._failed_at = self._clock()

    def _settle(self, appends: list[_Append], error: Exception | None) -> None:
        if error is not None:
            self._loop.call_soon(self._begin_era)  # just before what the failed futures call, and nothing in between
        for lines, future, _ in appends:
            self._unsynced_bytes -= len(lines)
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or repr(error)
                future.set_exception(LogUnavailable(f"the log's disk: {reason}", cause="disk"))

    def _begin_era(self) -> None:
        """Whoever appends from now on knows of the failure."""
        self._era += 1
