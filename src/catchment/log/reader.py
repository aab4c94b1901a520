"""Reads the local log: whole, sound groups, writer by writer, from the committed position on.

A segment is final once its writer has a newer one: what stands behind its last whole group is then a torn tail, which
was never acknowledged, and is skipped. A damaged group inside is skipped too, but loudly, and its segment is kept for
ever beside a note: nothing that could not be read is deleted. The newest segment of a folder always stays, so that
sequences never start over.
"""

import json
import logging
import time
from pathlib import Path
from typing import NamedTuple

from catchment.log.disk import Disk
from catchment.log.log import Backlog, Batch
from catchment.log.segment import WRITER_PREFIX, Scan, scan, segment_name, sequence_of
from catchment.settings import Log

POSITION_NAME = "position.json"
DAMAGE_ENDING = ".damaged"
_LEAST_READ_BYTES = 1024 * 1024

logger = logging.getLogger(__name__)


class Position(NamedTuple):
    """Up to `offset` bytes of the segment `sequence`, and all of those before it, are done with."""

    sequence: int
    offset: int


class SegmentReader:
    """`LogReader` on local segments; one process reads a log at a time."""

    def __init__(self, disk: Disk, root: Path, settings: Log) -> None:
        self._disk = disk
        self._root = root
        self._settings = settings
        disk.make_folder(root)
        self._committed = _load_positions(disk, root)
        self._turn = 0

    def read(self, bytes_max: int) -> Batch | None:
        """See `LogReader.read`."""
        parts: list[bytes] = []
        position: dict[str, Position] = {}
        appends, size = 0, 0
        writers = self._writers()
        self._turn += 1  # each read begins with another writer, so that a long backlog of one starves no other
        first = self._turn % max(1, len(writers))
        for writer in writers[first:] + writers[:first]:
            start = self._committed.get(writer, Position(0, 0))
            if size >= bytes_max:
                break
            end, groups = self._read_writer(writer, start, bytes_max - size)
            if end != start:
                position[writer] = end
                parts += groups
                appends += len(groups)
                size += sum(map(len, groups))
        return Batch(b"".join(parts), position, appends) if position else None

    def commit(self, batch: Batch) -> None:
        """See `LogReader.commit`."""
        merged = self._committed | batch.position
        self._disk.replace(self._root / POSITION_NAME, json.dumps(merged).encode())
        self._committed = merged
        for writer in batch.position:
            self._forget(writer, merged[writer])

    def backlog(self) -> Backlog:
        """See `LogReader.backlog`."""
        unread, held = 0, 0
        for writer in self._writers():
            position = self._committed.get(writer, Position(0, 0))
            for sequence, size, _ in self._segments(writer):
                held += size
                if sequence > position.sequence:
                    unread += size
                elif sequence == position.sequence:
                    unread += max(0, size - position.offset)
        return Backlog(unread, held)

    def close(self) -> None:
        """Nothing is held between calls."""

    def _writers(self) -> list[str]:
        return [name for name in self._disk.folders(self._root) if name.startswith(WRITER_PREFIX)]

    def _segments(self, writer: str) -> list[tuple[int, int, float]]:
        """(sequence, bytes, time of last change) of a writer's segments, oldest first."""
        found = []
        for info in self._disk.files(self._root / writer):
            sequence = sequence_of(info.name)
            if sequence is not None:
                found.append((sequence, info.size, info.changed_at))
        return found

    def _read_writer(self, writer: str, start: Position, bytes_max: int) -> tuple[Position, list[bytes]]:
        """The groups after `start` and the position behind them. The list of segments is taken before any is read:
        a segment that has a successor in it is final, so all its bytes are seen."""
        groups: list[bytes] = []
        present = [sequence for sequence, _, _ in self._segments(writer)]
        if present and present[-1] < start.sequence:
            logger.error(
                "log: the segments of %s are not those that were read before; reading them from the start", writer
            )
            start = Position(0, 0)
        position, size = start, 0
        sequences = [sequence for sequence in present if sequence >= start.sequence]
        for index, sequence in enumerate(sequences):
            if sequence != position.sequence:
                position = Position(sequence, 0)
            final = index + 1 < len(sequences)
            while size < bytes_max:
                data, found = self._scan(writer, position, max(bytes_max - size, _LEAST_READ_BYTES))
                self._report_damage(writer, position, found)
                groups += [data[begin:end] for begin, end in found.groups]
                size += found.end
                position = Position(sequence, position.offset + found.end)
                if found.end == 0:
                    if data and final:
                        logger.warning("log: skipped a torn tail of %d bytes in %s/%d", len(data), writer, sequence)
                    break
            if not final or size >= bytes_max:
                break
        return position, groups

    def _scan(self, writer: str, position: Position, bytes_max: int) -> tuple[bytes, Scan]:
        """Reads on until there is a whole group or the file ends."""
        path = self._root / writer / segment_name(position.sequence)
        while True:
            data = self._disk.read(path, position.offset, bytes_max)
            found = scan(data)
            if found.end or len(data) < bytes_max:
                return data, found
            bytes_max *= 4

    def _report_damage(self, writer: str, position: Position, found: Scan) -> None:
        for begin, end in found.damaged:
            where = f"bytes {position.offset + begin} to {position.offset + end}"
            logger.error(
                "log: %s of %s/%s are damaged and were not loaded; the segment is kept for you to look at",
                where,
                writer,
                segment_name(position.sequence),
            )
            name = f"{segment_name(position.sequence)}.{position.offset + begin}{DAMAGE_ENDING}"
            note = self._root / writer / name
            self._disk.replace(note, f"{where}\n".encode())

    def _forget(self, writer: str, position: Position) -> None:
        """Removes segments that are behind the position, unless they are damaged or to be kept a while."""
        folder = self._root / writer
        notes = [info.name for info in self._disk.files(folder) if info.name.endswith(DAMAGE_ENDING)]
        damaged = {".".join(name.split(".")[:2]) for name in notes}
        oldest_kept = time.time() - self._settings.keep_loaded_hours * 3600
        for sequence, _, changed_at in self._segments(writer):
            name = segment_name(sequence)
            if sequence < position.sequence and changed_at <= oldest_kept and name not in damaged:
                self._disk.remove(folder / name)


def _load_positions(disk: Disk, root: Path) -> dict[str, Position]:
    try:
        data = disk.read(root / POSITION_NAME, 0, 1 << 24)
    except FileNotFoundError:
        return {}
    return {writer: Position(*position) for writer, position in json.loads(data).items()}
