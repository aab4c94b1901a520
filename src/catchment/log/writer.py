"""Appends to the local log: group commit, one writer to a folder.

Requests that arrive while one fsync runs wait for the next one together: a thread takes all that has gathered, writes
it as one group, syncs, and only then are their futures done. A folder belongs to the process that holds its lock; a
new process takes the first free folder and starts a new segment, so no segment ever has two writers or two lives.

A segment whose write or sync failed is abandoned: after a failed sync nobody knows what the disk has of it, so nothing
more is ever written to it and the next group goes to a fresh segment (docs/log.md, the crash argument).
"""

import asyncio
import threading
import time
from asyncio import AbstractEventLoop, Future
from pathlib import Path
from queue import SimpleQueue

from catchment.errors import LogUnavailable
from catchment.log.disk import AppendFile, Disk
from catchment.log.segment import WRITER_PREFIX, group, header, segment_name, sequence_of
from catchment.settings import Log

LOCK_NAME = "lock"
WRITERS_MAX = 1024
_CALM_S = 0.2  # after a failure nothing is tried for a while: each try may leave a torn segment on a full disk


class _Segment:
    """The segment being written."""

    def __init__(self, disk: Disk, folder: Path, sequence: int) -> None:
        self.sequence = sequence
        self.size = 0
        self._file: AppendFile = disk.create(folder / segment_name(sequence))
        try:
            self.commit(header(folder.name, sequence))
        except OSError:
            self._file.close()
            raise

    def commit(self, data: bytes) -> None:
        self._file.append(data)
        self._file.sync()
        self.size += len(data)

    def close(self) -> None:
        self._file.close()


class SegmentWriter:
    """`LogWriter` on local segments; `loop` is the event loop that it is called from."""

    def __init__(self, disk: Disk, root: Path, settings: Log, *, loop: AbstractEventLoop) -> None:
        self._disk = disk
        self._settings = settings
        self._folder, self._lock = _claim_folder(disk, root)
        sequences = [sequence_of(info.name) or 0 for info in disk.files(self._folder)]
        self._next_sequence = max(sequences, default=0) + 1
        self._segment: _Segment | None = None
        self._loop = loop
        self._queue: SimpleQueue[tuple[bytes, Future[None]] | None] = SimpleQueue()
        self._unsynced_bytes = 0
        self._closing = False
        self._failed_at: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"log-{self._folder.name}", daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        """The folder's name, which is the writer's."""
        return self._folder.name

    def append(self, lines: bytes) -> "Future[None]":
        """See `LogWriter.append`."""
        if self._closing:
            raise LogUnavailable("the log is closing")
        if self._failed_at is not None and time.monotonic() - self._failed_at < _CALM_S:
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
            await asyncio.to_thread(self._thread.join)
            self._disk.unlock(self._lock)

    def _run(self) -> None:
        last = False
        while not last:
            gathered = [self._queue.get()]
            gathered += [self._queue.get_nowait() for _ in range(self._queue.qsize())]
            last = gathered[-1] is None
            appends = [append for append in gathered if append is not None]
            if appends:
                lines = b"".join([lines for lines, _ in appends])
                error = self._commit(group(lines))
                self._loop.call_soon_threadsafe(self._settle, appends, error)
        if self._segment is not None:
            self._segment.close()

    def _commit(self, data: bytes) -> OSError | None:
        try:
            if self._segment is not None and self._segment.size + len(data) > self._settings.segment_bytes_max:
                self._abandon()
            if self._segment is None:
                sequence, self._next_sequence = self._next_sequence, self._next_sequence + 1
                self._segment = _Segment(self._disk, self._folder, sequence)
            self._segment.commit(data)
        except OSError as error:
            self._abandon()
            self._failed_at = time.monotonic()
            return error
        self._failed_at = None
        return None

    def _abandon(self) -> None:
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.close()

    def _settle(self, appends: list[tuple[bytes, "Future[None]"]], error: OSError | None) -> None:
        for lines, future in appends:
            self._unsynced_bytes -= len(lines)
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(LogUnavailable(f"the log's disk: {error.strerror or error}"))


def _claim_folder(disk: Disk, root: Path) -> tuple[Path, int]:
    """The first folder `edge-N` that no living process holds, with its lock."""
    for number in range(WRITERS_MAX):
        folder = root / f"{WRITER_PREFIX}{number}"
        disk.make_folder(folder)
        lock = disk.try_lock(folder / LOCK_NAME)
        if lock is not None:
            return folder, lock
    raise LogUnavailable(f"{root} has {WRITERS_MAX} writers already")
