"""Reads the local log: whole, sound groups, writer by writer, from the committed position on.

A segment is final once its writer has a newer one. What stands behind the last sound group of a final segment is then
a torn group, which was never acknowledged: it is cut off and kept in a file of its own. Bytes between sound groups are
damage: they are stepped over, but loudly, and their segment is kept for ever beside a note. Nothing that could not be
read is deleted, and nothing that cannot be read holds up what can.

`patience.py` gets the bytes from the disk, `findings.py` keeps what could not be read, `removal.py` removes segments.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from catchment.log.census import records_behind
from catchment.log.disk import Disk, FileInfo
from catchment.log.findings import DAMAGE_ENDING, TORN_ENDING, Findings, damaged_segments
from catchment.log.held import HeldFolders
from catchment.log.log import Backlog, Batch
from catchment.log.patience import PatientDisk
from catchment.log.position import POSITION_NAME, START, DamagedPositions, Position, load_positions, save_positions
from catchment.log.removal import Removal
from catchment.log.segment import WRITER_PREFIX, holds_records, segment_name, segments_of, sequence_of
from catchment.settings import Log

logger = logging.getLogger(__name__)


class SegmentReader:
    """`LogReader` on local segments; one process reads a log at a time."""

    def __init__(self, disk: Disk, root: Path, settings: Log, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._disk = disk
        self._root = root
        disk.make_folder(root)
        self._committed = self._load_positions()
        self._turn = 0
        self._held = HeldFolders(root, clock)
        self._findings = Findings(disk)
        self._bytes = PatientDisk(disk, self._findings, clock)
        self._removal = Removal(disk, root, settings, self._bytes, self._findings, clock)
        self._unsound: dict[str, tuple[int, int, int]] = {}  # newest segment, and where no group is in it up to its end

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
            self._removal.make_room(self._committed)
            self._held.require_another(writers)
        return Batch(b"".join(parts), position, len(parts)) if position else None

    def commit(self, batch: Batch) -> None:
        """See `LogReader.commit`."""
        self._findings.write()
        merged = self._committed | batch.position
        save_positions(self._disk, self._root, merged)
        self._committed = merged
        self._removal.loaded(merged)

    def backlog(self) -> Backlog:
        """See `LogReader.backlog`."""
        unread, loaded = 0, 0
        positions = [info.size for info in self._disk.files(self._root) if info.name.endswith(DAMAGE_ENDING)]
        aside, files = sum(positions), len(positions)
        for writer in self._writers():
            position = self._committed.get(writer, START)
            infos = self._listed(writer)
            damaged = damaged_segments(infos)
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
            for sequence, info in segments_of(self._listed(writer)):
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
        for writer in self._writers():
            position = self._committed.get(writer, START)
            self._removal.loaded({writer: position})
            try:
                if not self._waits(writer, position):  # or its hours would begin before it is done with
                    self._removal.newest(writer, position)
            except OSError as error:
                logger.warning("log: the newest segment of %s was not removed: %s", self._root / writer, error)

    def close(self) -> None:
        """Nothing is held between calls."""

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

    def _waits(self, writer: str, position: Position) -> bool:
        segments = segments_of(self._disk.files(self._root / writer))
        return any(self._waiting_bytes(writer, sequence, info.size, position) for sequence, info in segments)

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
        present = [sequence for sequence, _ in segments_of(self._disk.files(self._root / writer))]
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
                    data, found = self._bytes.scan(path, offset, bytes_max - size)
                except FileNotFoundError:
                    break  # a segment that its writer took back, before it held a group
                except OSError:
                    if size:
                        return position, groups  # the next read begins where this one failed
                    raise
                self._findings.look(path, offset, data, found)
                if not found.end:
                    if data and sequence != present[-1]:
                        self._findings.tail(path, offset, data)
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
