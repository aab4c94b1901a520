"""Appends to the local log: group commit, one writer to a folder.

Requests that arrive while one fsync runs wait for the next one together: a thread takes all that has gathered, writes
it as one group, syncs, and only then are their futures done. A folder belongs to the process that holds its lock; a
new process takes the first free folder and starts a new segment, so no segment ever has two writers or two lives.

A segment whose write or sync failed is abandoned: after a failed sync nobody knows what the disk has of it, so nothing
more is ever written to it and the next group goes to a fresh segment (docs/log.md, the crash argument).
"""

import asyncio
import threading
from asyncio import AbstractEventLoop, Future
from pathlib import Path

from catchment.errors import LogUnavailable
from catchment.log.disk import AppendFile, Disk
from catchment.log.segment import group, header, segment_name, sequence_of
from catchment.settings import Log

LOCK_NAME = "lock"
WRITERS_MAX = 1024


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
        self._guard = threading.Lock()
        self._pending: list[bytes] = []
        self._waiting: list[Future[None]] = []
        self._unsynced_bytes = 0
        self._closing = False
        self._work = threading.Semaphore(0)
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
        if self._unsynced_bytes + len(lines) > self._settings.unsynced_bytes_max:
            raise LogUnavailable("too many bytes are waiting for the disk")
        future: Future[None] = self._loop.create_future()
        with self._guard:
            idle = not self._pending
            self._pending.append(lines)
            self._waiting.append(future)
            self._unsynced_bytes += len(lines)
        if idle:
            self._work.release()
        return future

    async def close(self) -> None:
        """See `LogWriter.close`."""
        if not self._closing:
            self._closing = True
            self._work.release()
            await asyncio.to_thread(self._thread.join)
            self._disk.unlock(self._lock)

    def _run(self) -> None:
        while True:
            self._work.acquire()
            with self._guard:
                pending, self._pending = self._pending, []
                waiting, self._waiting = self._waiting, []
            if pending:
                size = sum(map(len, pending))
                error = self._commit(group(b"".join(pending)))
                self._loop.call_soon_threadsafe(self._settle, waiting, size, error)
            elif self._closing:
                break
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
            return error
        return None

    def _abandon(self) -> None:
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.close()

    def _settle(self, waiting: list["Future[None]"], size: int, error: OSError | None) -> None:
        self._unsynced_bytes -= size
        for future in waiting:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(LogUnavailable(f"the log's disk: {error.strerror or error}"))


def _claim_folder(disk: Disk, root: Path) -> tuple[Path, int]:
    """The first folder `edge-N` that no living process holds, with its lock."""
    for number in range(WRITERS_MAX):
        folder = root / f"edge-{number}"
        disk.make_folder(folder)
        lock = disk.try_lock(folder / LOCK_NAME)
        if lock is not None:
            return folder, lock
    raise LogUnavailable(f"{root} has {WRITERS_MAX} writers already")
