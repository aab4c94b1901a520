"""One writer's folder of segments: each group that is given to it is durable, or the error says that it is not.

A folder belongs to the process that holds its lock; a new process takes the first free folder and starts a new
segment, so no segment ever has two writers or two lives.

A segment whose write or sync failed is abandoned: after a failed sync nobody knows what the disk has of it, so nothing
more is ever written to it or synced, and the next group goes to a fresh segment (docs/log.md, the crash argument).
"""

import logging
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from catchment.errors import LogUnavailable
from catchment.log.disk import Disk
from catchment.log.position import START, DamagedPositions, load_positions
from catchment.log.segment import WRITER_PREFIX, Seal, commit_line, group, header, seal, segment_name, sequence_of
from catchment.settings import Log

LOCK_NAME = "lock"
WRITERS_MAX = 1024

logger = logging.getLogger(__name__)


class Folder:
    """The first folder `edge-N` that no living process holds, until `close`; `number` is N."""

    def __init__(self, disk: Disk, root: Path, settings: Log, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._disk = disk
        self._settings = settings
        self._clock = clock
        self.number, self._path, self._lock = _claim(disk, root)
        self._segment: _Segment | None = None
        try:
            self._next_sequence = _last_sequence(disk, self._path) + 1
        except OSError:
            disk.unlock(self._lock)
            raise

    @property
    def name(self) -> str:
        """The folder's name, which is the writer's."""
        return self._path.name

    def commit(self, appends: Sequence[bytes]) -> None:
        """Returns once the lines of all are durable, as one group. Raises `OSError` if that failed: they may be there
        or not, but never a part of them."""
        data = group(*appends)
        self.end_old_segment()
        if self._segment is not None and self._segment.size + len(data) > self._settings.segment_bytes_max:
            self._end_segment()
        if self._segment is None:
            sequence, self._next_sequence = self._next_sequence, self._next_sequence + 1
            self._segment = _Segment(self._disk, self._path, sequence, self._clock())
        segment, self._segment = self._segment, None  # abandoned, unless this goes well
        segment.add(data)
        self._segment = segment

    def end_old_segment(self) -> None:
        """Seals the segment if it is as old as one may become, so that it can be removed though little arrives."""
        segment = self._segment
        if segment is not None and self._clock() - segment.began_at >= self._settings.segment_hours_max * 3600:
            self._end_segment()

    def close(self) -> None:
        """Seals the segment and lets go of the folder."""
        self._end_segment()
        self._disk.unlock(self._lock)

    def _end_segment(self) -> None:
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.seal()


class _Segment:
    """The segment being written. An error of `add` ends its use."""

    def __init__(self, disk: Disk, folder: Path, sequence: int, began_at: float) -> None:
        self.began_at = began_at
        self._path = folder / segment_name(sequence)
        self._file = disk.create(self._path)
        self._crc32 = 0
        self._groups = 0
        self.size = 0
        try:
            self.add(header(folder.name, sequence))
        except _NotWritten:
            with suppress(OSError):
                disk.remove(self._path)  # it never held a group; a full disk must not fill with such names
            raise

    def add(self, data: bytes) -> None:
        """Returns once the group is durable."""
        try:
            self._write(data)
            self._file.sync()
        except BaseException:
            self._file.close()
            raise
        self.size += len(data)
        self._crc32 = zlib.crc32(commit_line(data), self._crc32)
        self._groups += 1

    def seal(self) -> None:
        """Ends the segment in order. Everything in it is durable already, so a failure is told and loses nothing."""
        try:
            self.add(seal(Seal(self.size, self._crc32, self._groups)))
        except OSError as error:
            logger.warning("log: %s could not be sealed: %s", self._path, error)
        else:
            self._file.close()

    def _write(self, data: bytes) -> None:
        try:
            self._file.append(data)
        except OSError as error:
            with suppress(OSError):
                self._file.cut(self.size)  # a torn group would be stepped over, but a full disk wants its room
            raise _NotWritten(error.errno, error.strerror) from error


class _NotWritten(OSError):
    """Not all of a group was written, so no reader can have taken it."""


def _claim(disk: Disk, root: Path) -> tuple[int, Path, int]:
    disk.make_folder(root)
    for number in range(WRITERS_MAX):
        folder = root / f"{WRITER_PREFIX}{number}"
        disk.make_folder(folder)
        lock = disk.try_lock(folder / LOCK_NAME)
        if lock is not None:
            return number, folder, lock
    raise LogUnavailable(f"{root} has {WRITERS_MAX} writers already")


def _last_sequence(disk: Disk, folder: Path) -> int:
    """The highest that was ever used here, or read from here.

    The position counts, too: were the folder emptied by hand, sequences that start over would be taken for segments
    that were loaded long ago.
    """
    try:
        position = load_positions(disk, folder.parent).get(folder.name, START)
    except DamagedPositions:
        position = START  # the reader tells of it
    return max([position.sequence, *(sequence_of(info.name) or 0 for info in disk.files(folder))])
