"""What the reader found and cannot read: told once, and noted beside its segment before the position passes it.

A `.damaged` note keeps its segment for ever; a `.torn` file has the bytes of a group that nobody was promised.
"""

import logging
from pathlib import Path

from catchment.log.disk import Disk, FileInfo
from catchment.log.segment import Scan, is_torn_group, seal_of

DAMAGE_ENDING = ".damaged"  # a note beside a segment, which is kept
TORN_ENDING = ".torn"  # the bytes of a torn group

logger = logging.getLogger(__name__)


class Findings:
    """Used by the reader's thread only."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._told: set[Path] = set()
        self._unwritten: dict[Path, bytes] = {}

    def write(self) -> None:
        """Brings to the disk what it does not have yet. Raises `OSError`; what was not written is kept for the next
        time."""
        for path, content in list(self._unwritten.items()):
            self._disk.replace(path, content)
            del self._unwritten[path]

    def look(self, path: Path, offset: int, data: bytes, found: Scan) -> None:
        """Notes what stands between the sound groups of `data`, which is at `offset`, and a seal that does not fit."""
        for begin, end in found.damaged:
            self.damage(path, offset + begin, f"bytes {offset + begin} to {offset + end} are damaged")
        for begin, end in found.groups[-1:]:
            sealed = seal_of(data[begin:end])
            if sealed is not None and sealed.size != offset + begin:
                self.damage(path, offset + begin, f"it has {offset + begin} bytes and was sealed with {sealed.size}")

    def tail(self, path: Path, offset: int, tail: bytes) -> None:
        """Sees to what stands behind the last sound group of a final segment."""
        if not is_torn_group(tail, offset):
            self.damage(path, offset, f"bytes {offset} to {offset + len(tail)} are damaged")
            return
        note = path.with_name(f"{path.name}.{offset}{TORN_ENDING}")
        if note not in self._told:
            logger.warning("log: cut a torn tail of %d bytes off %s; nobody was promised it", len(tail), path)
            self._told.add(note)
            if tail.strip(b"\0"):
                self._unwritten[note] = tail

    def damage(self, path: Path, offset: int, finding: str) -> None:
        """Something that was promised may be lost there."""
        note = path.with_name(f"{path.name}.{offset}{DAMAGE_ENDING}")
        if note not in self._told:
            logger.error("log: in %s %s; that is not loaded, and the segment is kept for you to look at", path, finding)
            self._told.add(note)
            self._unwritten[note] = f"{finding}\n".encode()


def damaged_segments(infos: list[FileInfo]) -> set[str]:
    """Names of the segments that have a note beside them."""
    return {".".join(info.name.split(".")[:2]) for info in infos if info.name.endswith(DAMAGE_ENDING)}
