"""Reads the bytes of segments from a disk that may not give them: tried again for a while, then read around, block by
block, so that what is sound on both sides of a bad block is found."""

import errno
from collections.abc import Callable
from pathlib import Path

from catchment.log.disk import Disk
from catchment.log.findings import Findings
from catchment.log.segment import HEADER_BYTES_MAX, VERSION, Scan, scan, version_of

PATIENCE_S = 60.0  # how long a segment that cannot be read is tried again before its unreadable blocks are given up
BLOCK_BYTES = 4096
LEAST_READ_BYTES = 1024 * 1024


class LaterFormat(OSError):
    """A segment of a version that this one cannot read: its folder waits for one that can."""


class PatientDisk:
    """Segments by path, on a `Disk`; every method raises `OSError` while it is worth trying again."""

    def __init__(self, disk: Disk, findings: Findings, clock: Callable[[], float]) -> None:
        self._disk = disk
        self._findings = findings
        self._clock = clock
        self._failing: dict[Path, float] = {}  # since when a segment cannot be read
        self._known: set[Path] = set()  # segments whose format can be read

    def scan(self, path: Path, offset: int, bytes_max: int = LEAST_READ_BYTES) -> tuple[bytes, Scan]:
        """Reads on until there is a whole group or the file ends; at least `LEAST_READ_BYTES`, if they are there.

        Raises `LaterFormat`; such a segment is neither read, nor stepped over, nor removed.
        """
        self._require_format(path)
        bytes_max = max(bytes_max, LEAST_READ_BYTES)
        while True:
            data = self._read(path, offset, bytes_max)
            found = scan(data)
            if found.end or len(data) < bytes_max:
                return data, found
            bytes_max *= 4

    def forget(self, path: Path) -> None:
        """The segment is there no more."""
        self._known.discard(path)
        self._failing.pop(path, None)

    def _require_format(self, path: Path) -> None:
        """A header that is not sound tells no version: it is damage, and what stands behind it is read."""
        if path in self._known:
            return
        start = self._read(path, 0, HEADER_BYTES_MAX)
        version = version_of(start)
        if version not in (None, VERSION):
            reason = (
                f"a later version of Catchment wrote it (its format is {version}, and this version reads {VERSION});"
                " install that version: nothing behind it in this folder is loaded until then"
            )
            raise LaterFormat(errno.EPROTONOSUPPORT, reason, str(path))
        if version is not None or len(start) == HEADER_BYTES_MAX:
            self._known.add(path)

    def _read(self, path: Path, offset: int, size: int) -> bytes:
        """The bytes; with zeros for what the disk cannot read for a long time, so that the groups around are found."""
        try:
            data = self._disk.read(path, offset, size)
        except FileNotFoundError:
            raise
        except OSError as error:
            if self._clock() - self._failing.setdefault(path, self._clock()) < PATIENCE_S:
                reason = (
                    f"{error.strerror or error}; it is tried again for {PATIENCE_S:.0f} s, and nothing behind it in its"
                    " folder is loaded until then"
                )
                raise OSError(error.errno, reason, str(path)) from error
            return self._read_around(path, offset, size)
        self._failing.pop(path, None)
        return data

    def _read_around(self, path: Path, offset: int, size: int) -> bytes:
        blocks = []
        sizes = {info.name: info.size for info in self._disk.files(path.parent)}
        end = min(offset + size, sizes.get(path.name, 0))
        while offset < end:
            length = min(BLOCK_BYTES - offset % BLOCK_BYTES, end - offset)
            try:
                block = self._disk.read(path, offset, length)
            except OSError as error:
                finding = f"bytes {offset} to {offset + length} cannot be read: {error}"
                self._findings.damage(path, offset, finding)
                block = bytes(length)
            blocks.append(block)
            offset += length
        return b"".join(blocks)
