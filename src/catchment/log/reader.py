"""Reads the local log: whole, sound groups, writer by writer, from the committed position on.

A segment is final once its writer has a newer one. What stands behind the last sound group of a final segment is then
a torn group, which was never acknowledged: it is cut off and kept in a file of its own. Bytes between sound groups are
damage: they are stepped over, but loudly, and their segment is kept for ever beside a note. Nothing that could not be
read is deleted, and nothing that cannot be read holds up what can. The newest segment of a folder stays as long as
somebody may write to it, and the position names it afterwards, so that sequences never start over.
"""

import errno
import logging
import time
from collections.abc import Callable
from pathlib import Path

from catchment.log.census import records_behind
from catchment.log.disk import Disk, FileInfo
from catchment.log.folder import LOCK_NAME
from catchment.log.held import HeldFolders
from catchment.log.log import Backlog, Batch
from catchment.log.position import POSITION_NAME, START, DamagedPositions, Position, load_positions, save_positions
from catchment.log.room import RESUME_FREE_SHARE
from catchment.log.segment import (
    HEADER_BYTES_MAX,
    SEAL_BYTES_MAX,
    SEAL_START,
    VERSION,
    WRITER_PREFIX,
    Scan,
    holds_records,
    is_torn_group,
    scan,
    seal_of,
    segment_name,
    sequence_of,
    version_of,
)
from catchment.settings import Log

DAMAGE_ENDING = ".damaged"  # a note beside a segment, which is kept
TORN_ENDING = ".torn"  # the bytes of a torn group
NEWEST_HOURS = 1.0  # how old a newest segment is before it is looked at whether anybody will write to it
PATIENCE_S = 60.0  # how long a segment that cannot be read is tried again before its unreadable blocks are given up
ROOM_LOOK_S = 1.0
BLOCK_BYTES = 4096
_LEAST_READ_BYTES = 1024 * 1024

logger = logging.getLogger(__name__)


class LaterFormat(OSError):
    """A segment of a version that this one cannot read: its folder waits for one that can."""


class SegmentReader:
    """`LogReader` on local segments; one process reads a log at a time."""

    def __init__(self, disk: Disk, root: Path, settings: Log, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._disk = disk
        self._root = root
        self._settings = settings
        self._clock = clock
        disk.make_folder(root)
        self._committed = self._load_positions()
        self._turn = 0
        self._findings: set[Path] = set()  # what was told already
        self._unwritten: dict[Path, bytes] = {}  # findings that go to the disk before the position passes them
        self._room_again_at = 0.0
        self._held = HeldFolders(root, clock)
        self._failing: dict[Path, float] = {}  # since when a segment cannot be read
        self._readable: set[Path] = set()  # segments whose format is known
        self._unsound: dict[str, tuple[int, int, int]] = {}  # newest segment, and where no group is in it up to its end
        self._done_since: dict[Path, tuple[int, float]] = {}  # since when a segment of that size is behind the position

    def read(self, bytes_max: int) -> Batch | None:
        """See `LogReader.read`."""
        parts: list[bytes] = []
        position: dict[str, Position] = {}
        size = 0
        writers = self._writers()
        self._held.keep_only(writers)
        self._turn += 1  # each read begins with another writer, so that a long backlog of one starves no other
        first = self._turn % max(1, len(writers))
        for writer in writers[first:] + writers[:first]:
            start = self._committed.get(writer, START)
            if size >= bytes_max:
                break
            if self._held.rests(writer):
                continue
            try:
                end, groups = self._read_writer(writer, start, bytes_max - size)
            except OSError as error:
                self._held.hold(writer, error)  # and it holds up none of the others
                continue
            self._held.release(writer)
            if end != start:
                position[writer] = end
                parts += groups
                size += sum(map(len, groups))
        if not position:
            self._make_room()
            self._held.require_another(writers)
        return Batch(b"".join(parts), position, len(parts)) if position else None

    def commit(self, batch: Batch) -> None:
        """See `LogReader.commit`."""
        self._write_notes()
        merged = self._committed | batch.position
        save_positions(self._disk, self._root, merged)
        self._committed = merged
        hours = 0.0 if self._is_short_of_room() else self._settings.keep_loaded_hours
        for writer, position in merged.items():
            self._forget(writer, position, hours)

    def backlog(self) -> Backlog:
        """See `LogReader.backlog`."""
        unread, loaded = 0, 0
        positions = [info.size for info in self._disk.files(self._root) if info.name.endswith(DAMAGE_ENDING)]
        aside, files = sum(positions), len(positions)
        for writer in self._writers():
            position = self._committed.get(writer, START)
            infos = self._listed(writer)
            damaged = _damaged_segments(infos)
            for info in infos:
                sequence = sequence_of(info.name)
                if sequence is None:
                    is_aside = info.name.endswith((DAMAGE_ENDING, TORN_ENDING))
                    aside, files = aside + is_aside * info.size, files + is_aside
                    continue
                waiting = self._waiting_bytes(writer, sequence, info.size, position)
                unread += waiting
                if info.name in damaged:
                    aside, files = aside + info.size - waiting, files + 1
                else:
                    loaded += info.size - waiting
        return Backlog(unread, loaded, aside, files)

    def unreadable(self) -> list[str]:
        """See `LogReader.unreadable`."""
        return self._held.reasons()

    def unread_records(self) -> int:
        """See `LogReader.unread_records`."""
        unread = []
        for writer in self._writers():
            position = self._committed.get(writer, START)
            for sequence, info in _segments_of(self._listed(writer)):
                offset = position.offset if sequence == position.sequence else 0
                if waiting := self._waiting_bytes(writer, sequence, info.size, position):
                    unread.append((self._root / writer / info.name, offset, offset + waiting))
        return records_behind(self._disk, unread)

    def _waiting_bytes(self, writer: str, sequence: int, size: int, position: Position) -> int:
        """How much of a segment is behind the position, but for a tail that was looked at and has no whole group."""
        newest, tail, end = self._unsound.get(writer, (0, 0, 0))
        if (newest, end) == (sequence, size):
            size = tail
        begin = position.offset if sequence == position.sequence else 0
        return max(0, size - begin) if sequence >= position.sequence else 0

    def tidy(self) -> None:
        """See `LogReader.tidy`."""
        hours = 0.0 if self._is_short_of_room() else self._settings.keep_loaded_hours
        for writer in self._writers():
            position = self._committed.get(writer, START)
            self._forget(writer, position, hours)
            try:
                self._forget_newest(writer, position)
            except OSError as error:
                logger.warning("log: the newest segment of %s was not removed: %s", self._root / writer, error)

    def close(self) -> None:
        """Nothing is held between calls."""

    def _write_notes(self) -> None:
        for path, content in list(self._unwritten.items()):
            self._disk.replace(path, content)
            del self._unwritten[path]

    def _load_positions(self) -> dict[str, Position]:
        try:
            return load_positions(self._disk, self._root)
        except DamagedPositions as error:
            logger.error("log: %s; everything that the log still holds is loaded once more", error)
            path = self._root / POSITION_NAME
            self._disk.rename(path, path.with_name(path.name + DAMAGE_ENDING))
            return {}

    def _writers(self) -> list[str]:
        return [name for name in self._disk.folders(self._root) if name.startswith(WRITER_PREFIX)]

    def _segments(self, writer: str) -> list[tuple[int, FileInfo]]:
        """A writer's segments by sequence, oldest first."""
        return _segments_of(self._disk.files(self._root / writer))

    def _listed(self, writer: str) -> list[FileInfo]:
        """A writer's files; none where they cannot be listed, which `unreadable` tells."""
        try:
            return self._disk.files(self._root / writer)
        except OSError:
            return []

    def _read_writer(self, writer: str, start: Position, bytes_max: int) -> tuple[Position, list[bytes]]:
        """The groups after `start` and the position behind them. The list of segments is taken before any is read:
        a segment that has a successor in it is final, so all its bytes are seen.

        The position moves to a segment only with a group of it: then its name is durable, which a file without one
        cannot prove.
        """
        groups: list[bytes] = []
        self._unsound.pop(writer, None)
        present = [sequence for sequence, _ in self._segments(writer)]
        if present and present[-1] < start.sequence:
            logger.error(
                "log: the segments of %s are not those that were read before; reading them from the start", writer
            )
            start = START
        position, size = start, 0
        for sequence in (sequence for sequence in present if sequence >= start.sequence):
            path = self._root / writer / segment_name(sequence)
            offset = start.offset if sequence == start.sequence else 0
            while size < bytes_max:
                try:
                    self._require_format(path)
                    data, found = self._scan(path, offset, max(bytes_max - size, _LEAST_READ_BYTES))
                except FileNotFoundError:
                    break  # a segment that its writer took back, before it held a group
                except OSError:
                    if size:
                        return position, groups  # the next read begins where this one failed
                    raise
                self._look_for_damage(path, offset, data, found)
                if not found.end:
                    if data and sequence != present[-1]:
                        self._cut_off(path, offset, data)
                    elif data:
                        self._unsound[writer] = sequence, offset, offset + len(data)
                    break
                lines = [data[begin:end] for begin, end in found.groups]
                groups += filter(holds_records, lines)
                size += found.end
                offset += found.end
                position = Position(sequence, offset)
            if size >= bytes_max:
                break
        return position, groups

    def _require_format(self, path: Path) -> None:
        """Raises `LaterFormat`; such a segment is neither read, nor stepped over, nor removed. A header that is not
        sound tells no version: it is damage, and what stands behind it is read."""
        if path in self._readable:
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
            self._readable.add(path)

    def _scan(self, path: Path, offset: int, bytes_max: int) -> tuple[bytes, Scan]:
        """Reads on until there is a whole group or the file ends."""
        while True:
            data = self._read(path, offset, bytes_max)
            found = scan(data)
            if found.end or len(data) < bytes_max:
                return data, found
            bytes_max *= 4

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
                self._keep(path, offset, f"bytes {offset} to {offset + length} cannot be read: {error}")
                block = bytes(length)
            blocks.append(block)
            offset += length
        return b"".join(blocks)

    def _look_for_damage(self, path: Path, offset: int, data: bytes, found: Scan) -> None:
        for begin, end in found.damaged:
            self._keep(path, offset + begin, f"bytes {offset + begin} to {offset + end} are damaged")
        for begin, end in found.groups[-1:]:
            sealed = seal_of(data[begin:end])
            if sealed is not None and sealed.size != offset + begin:
                self._keep(path, offset + begin, f"it has {offset + begin} bytes and was sealed with {sealed.size}")

    def _cut_off(self, path: Path, offset: int, tail: bytes) -> None:
        """Sees to what stands behind the last sound group of a final segment."""
        if not is_torn_group(tail, offset):
            self._keep(path, offset, f"bytes {offset} to {offset + len(tail)} are damaged")
            return
        note = path.with_name(f"{path.name}.{offset}{TORN_ENDING}")
        if note not in self._findings:
            logger.warning("log: cut a torn tail of %d bytes off %s; nobody was promised it", len(tail), path)
            self._findings.add(note)
            if tail.strip(b"\0"):
                self._unwritten[note] = tail

    def _keep(self, path: Path, offset: int, finding: str) -> None:
        note = path.with_name(f"{path.name}.{offset}{DAMAGE_ENDING}")
        if note not in self._findings:
            logger.error("log: in %s %s; that is not loaded, and the segment is kept for you to look at", path, finding)
            self._findings.add(note)
            self._unwritten[note] = f"{finding}\n".encode()

    def _make_room(self) -> None:
        """While nothing is appended because the disk is short, nothing is committed, which is when segments go."""
        if self._settings.keep_loaded_hours and self._clock() >= self._room_again_at:
            self._room_again_at = self._clock() + ROOM_LOOK_S
            if self._is_short_of_room():
                for writer, position in self._committed.items():
                    self._forget(writer, position, 0.0)

    def _is_short_of_room(self) -> bool:
        """Whether what is kept for longer than it must be is in the way of new events, or soon will be."""
        if not self._settings.keep_loaded_hours:
            return False
        try:
            return self._disk.free_bytes(self._root) < self._settings.free_bytes_min * RESUME_FREE_SHARE**2
        except OSError:
            return False

    def _forget(self, writer: str, position: Position, hours: float) -> None:
        """Removes segments that are behind the position, unless they are damaged or to be kept for some hours."""
        folder = self._root / writer
        try:
            damaged = _damaged_segments(self._disk.files(folder))
            for sequence, info in self._segments(writer)[:-1]:
                done = sequence < position.sequence and info.name not in damaged
                if done and self._is_older(folder / info.name, info, hours):
                    self._remove(folder / info.name)
        except OSError as error:
            logger.warning("log: segments of %s that are loaded were not removed: %s", folder, error)

    def _forget_newest(self, writer: str, position: Position) -> None:
        """Removes the newest segment where nobody will write to it any more: its writer sealed it, or has gone.

        Only where it is the last one, and durably so: an older one that a power cut brings back without it would be
        taken for a folder that somebody replaced.
        """
        folder = self._root / writer
        segments = self._segments(writer)
        if len(segments) != 1 or segments[0][0] != position.sequence:
            return  # the position goes on counting for what is removed, and for nothing else
        path, info = folder / segments[0][1].name, segments[0][1]
        if self._waiting_bytes(writer, position.sequence, info.size, position):
            return  # or its hours would begin before it is done with
        if not self._is_older(path, info, max(NEWEST_HOURS, self._settings.keep_loaded_hours)):
            return
        lock = self._disk.try_lock(folder / LOCK_NAME)
        try:
            if lock is None and not (position.offset == info.size and self._ends_with_seal(path, info.size)):
                return
            if self._segments(writer) != segments:
                return  # a writer has come and gone meanwhile
            data, found = self._scan(path, position.offset, _LEAST_READ_BYTES)
            if found.end:
                return  # there is something to read first
            if data:
                self._cut_off(path, position.offset, data)
                self._write_notes()
            if info.name not in _damaged_segments(self._disk.files(folder)):
                self._disk.sync_folder(folder)
                self._remove(path)
        finally:
            if lock is not None:
                self._disk.unlock(lock)

    def _ends_with_seal(self, path: Path, size: int) -> bool:
        tail = self._disk.read(path, max(0, size - SEAL_BYTES_MAX), SEAL_BYTES_MAX)
        tail = tail[max(0, tail.rfind(SEAL_START)) :]
        return [seal_of(tail[begin:end]) is not None for begin, end in scan(tail).groups] == [True]

    def _is_older(self, path: Path, info: FileInfo, hours: float) -> bool:
        """Whether a segment that is done with was changed so long ago. Where the wall clock was set back it cannot
        tell, so the time since the segment was found to be done with, and as large as it is now, counts as well."""
        size, since = self._done_since.get(path, (-1, 0.0))
        if size != info.size:
            self._done_since[path] = info.size, (since := self._clock())
        return not hours or info.changed_at <= time.time() - hours * 3600 or self._clock() - since >= hours * 3600

    def _remove(self, path: Path) -> None:
        self._disk.remove(path)
        self._done_since.pop(path, None)
        self._readable.discard(path)


def _segments_of(infos: list[FileInfo]) -> list[tuple[int, FileInfo]]:
    found = [(sequence_of(info.name), info) for info in infos]
    return [(sequence, info) for sequence, info in found if sequence is not None]


def _damaged_segments(infos: list[FileInfo]) -> set[str]:
    """Names of the segments that have a note beside them."""
    return {".".join(info.name.split(".")[:2]) for info in infos if info.name.endswith(DAMAGE_ENDING)}
