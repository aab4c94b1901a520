"""Checks every segment of a log against its own checksums, piece by piece, without changing or locking anything.

It may run beside the server: a group that is being written is not judged, and a segment that is removed meanwhile was
loaded.
"""

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from catchment.log.disk import Disk
from catchment.log.segment import WRITER_PREFIX, Scan, Seal, is_torn_group, scan, seal_of, sequence_of

PIECE_BYTES = 8 * 1024 * 1024

State = Literal["sealed", "open", "ended", "torn", "damaged", "unreadable"]


class Finding(NamedTuple):
    """What a segment is.

    `state` is "sealed" (ended in order, and all of it is what was written), "open" (the newest of its folder),
    "ended" (its writer died or gave it up between two groups), "torn" (within a group, which nobody was promised),
    "damaged", or "unreadable"; `at` is the byte where it is torn, damaged or unreadable, -1 for the others. `groups` is
    how many are sound, header and seal among them.
    """

    segment: str
    bytes: int
    groups: int
    state: State
    at: int = -1
    reason: str = ""

    @property
    def sound(self) -> bool:
        """Whether the disk has all that it promised to keep."""
        return self.state not in ("damaged", "unreadable")


def segments(disk: Disk, root: Path) -> list[tuple[Path, int, bool]]:
    """Path and bytes of each segment of the log, and whether it is the newest of its folder."""
    found = []
    for writer in disk.folders(root):
        if writer.startswith(WRITER_PREFIX):
            infos = [info for info in disk.files(root / writer) if sequence_of(info.name) is not None]
            found += [(root / writer / info.name, info.size, info is infos[-1]) for info in infos]
    return found


def verify(disk: Disk, root: Path, *, progress: Callable[[int], None] = lambda _: None) -> Iterator[Finding]:
    """Each segment, oldest first in each folder. `progress` is told of the bytes that were read."""
    for path, _, newest in segments(disk, root):
        try:
            yield _Check(disk, path, newest=newest).run(progress)
        except FileNotFoundError:
            continue  # it was loaded and removed since


class _Check:
    def __init__(self, disk: Disk, path: Path, *, newest: bool) -> None:
        self._disk = disk
        self._path = path
        self._newest = newest
        self._groups = 0
        self._offset = 0  # where the piece in hand begins; before it, everything was looked at
        self._crc32 = 0  # of the commit lines before it
        self._damage: tuple[int, str] | None = None  # the first
        self._sealed = False

    def run(self, progress: Callable[[int], None]) -> Finding:
        data = b""
        while True:
            try:
                piece = self._disk.read(self._path, self._offset + len(data), PIECE_BYTES + len(data))
            except FileNotFoundError:
                raise
            except OSError as error:
                where = self._offset + len(data)
                return self._finding(where, "unreadable", where, error.strerror or str(error))
            progress(len(piece))
            if not piece:
                return self._judge_end(data)
            data += piece
            found = scan(data)
            self._take(data, found)
            data = data[found.end :]

    def _take(self, data: bytes, found: Scan) -> None:
        for begin, _ in found.damaged:
            self._note(self._offset + begin, "bytes that are in no sound group")
        for begin, end in found.groups:
            self._groups += 1
            if self._sealed:
                self._note(self._offset + begin, "a group behind the seal")
            sealed = seal_of(data[begin:end]) if end - begin < 256 else None  # a seal is short
            if sealed is not None:
                self._sealed = True
                before = Seal(self._offset + begin, self._crc32, self._groups - 1)
                if before != sealed:
                    self._note(self._offset + begin, f"sealed with {_in_words(sealed)}, found {_in_words(before)}")
            self._crc32 = zlib.crc32(data[end : data.index(b"\n", end) + 1], self._crc32)
        self._offset += found.end

    def _note(self, at: int, reason: str) -> None:
        if self._damage is None:
            self._damage = at, reason

    def _judge_end(self, tail: bytes) -> Finding:
        size = self._offset + len(tail)
        if tail and (self._sealed or not is_torn_group(tail, self._offset)):
            self._note(self._offset, "bytes behind the seal" if self._sealed else "groups that are not sound")
        if self._damage:
            return self._finding(size, "damaged", *self._damage)
        if self._sealed:
            return self._finding(size, "sealed")
        if self._newest:
            return self._finding(size, "open")
        return self._finding(size, "torn", self._offset) if tail else self._finding(size, "ended")

    def _finding(self, size: int, state: State, at: int = -1, reason: str = "") -> Finding:
        return Finding(f"{self._path.parent.name}/{self._path.name}", size, self._groups, state, at, reason)


def _in_words(what: Seal) -> str:
    return f"{what.size} bytes, {what.groups} groups, CRC-32 {what.crc32}"
