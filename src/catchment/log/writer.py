"""Appends to the local log: group commit.

Requests that arrive while one fsync runs wait for the next one together: a thread takes all that has gathered, writes
it as one group, syncs, and only then are their futures done. `Folder` has the segments; this has the queue, its bound,
and the futures.
"""

import asyncio
import logging
import threading
import time
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue

from catchment.errors import LogUnavailable
from catchment.log.disk import Disk
from catchment.log.folder import Folder
from catchment.settings import Log

IDLE_LOOK_S = 60.0  # while nothing is appended, whether the segment has become old
CALM_S = 0.2  # after a failure nothing is tried for a while: each try may leave a torn segment on a full disk

logger = logging.getLogger(__name__)


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
    ) -> None:
        self._folder = Folder(disk, root, settings, clock=clock)
        self._settings = settings
        self._loop = loop
        self._clock = clock
        self._queue: SimpleQueue[tuple[bytes, Future[None]] | None] = SimpleQueue()
        self._unsynced_bytes = 0
        self._closing = False
        self._failed_at: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"log-{self.name}", daemon=True) if background else None
        if self._thread:
            self._thread.start()

    @property
    def name(self) -> str:
        """The folder's name, which is the writer's."""
        return self._folder.name

    def append(self, lines: bytes) -> "Future[None]":
        """See `LogWriter.append`."""
        if self._closing:
            raise LogUnavailable("the log is closing")
        if self._failed_at is not None and self._clock() - self._failed_at < CALM_S:
            raise LogUnavailable("the log's disk failed a moment ago")
        if self._unsynced_bytes + len(lines) > self._settings.unsynced_bytes_max:
            raise LogUnavailable("too many bytes are waiting for the disk")
        future: Future[None] = self._loop.create_future()
        self._unsynced_bytes += len(lines)
        self._queue.put((lines, future))
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
        if appends:
            error = self._commit(appends)
            self._loop.call_soon_threadsafe(self._settle, appends, error)
        return gathered[-1] is not None

    def _run(self) -> None:
        while self.commit_waiting():
            pass
        self._folder.close()

    def _commit(self, appends: list[tuple[bytes, "Future[None]"]]) -> Exception | None:
        try:
            self._folder.commit([lines for lines, _ in appends])
        except Exception as error:  # whatever it is, requests wait for an answer
            self._note_failure(error)
            return error
        if self._failed_at is not None:
            logger.warning("log: %s takes appends again", self.name)
        self._failed_at = None
        return None

    def _note_failure(self, error: Exception) -> None:
        if self._failed_at is None:
            logger.error("log: %s takes nothing, and everything is answered 503: %s", self.name, error)
        self._failed_at = self._clock()

    def _settle(self, appends: list[tuple[bytes, "Future[None]"]], error: Exception | None) -> None:
        for lines, future in appends:
            self._unsynced_bytes -= len(lines)
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or repr(error)
                future.set_exception(LogUnavailable(f"the log's disk: {reason}"))
