"""How much room there is: what waits in the log, what is free on its disk, and how long both will last.

Whoever appends stops before the disk is full, for a full disk breaks more than the log: nothing that was loaded can be
noted either, so that nothing is removed. `RoomWatch` says when to stop and when to go on, with a distance between the
two. What counts against the log's bound is what still waits to be loaded, so loading alone always ends the shortage,
however many segments are kept for other reasons.

All of it is read from the disk, so it is the same for every process, whether the core runs or not.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from catchment.log.disk import Disk
from catchment.log.log import Backlog
from catchment.log.position import START, DamagedPositions, Position, load_positions
from catchment.log.segment import WRITER_PREFIX, sequence_of
from catchment.settings import Log
from catchment.sizes import size_text

LOG_FULL, DISK_FULL = "log_full", "disk_nearly_full"
RESUME_BYTES_SHARE = 0.9  # of the log's bound
RESUME_FREE_SHARE = 1.25  # of the floor
GROWTH_SECONDS = 60.0

logger = logging.getLogger(__name__)


class Room(NamedTuple):
    """Bytes that wait in the log to be loaded, that it holds in all, and that are free on its disk."""

    unread_bytes: int
    held_bytes: int
    free_bytes: int


def room_of(disk: Disk, root: Path) -> Room:
    """Looks at the disk. Raises `OSError`."""
    try:
        positions = load_positions(disk, root)
    except DamagedPositions:
        positions = {}  # as the reader will take it
    backlog = backlog_behind(disk, root, positions)
    return Room(backlog.unread_bytes, backlog.held_bytes, disk.free_bytes(root))


def backlog_behind(disk: Disk, root: Path, positions: Mapping[str, Position]) -> Backlog:
    """What all folders hold, and what of it is behind the positions."""
    unread = held = 0
    for writer in disk.folders(root):
        if not writer.startswith(WRITER_PREFIX):
            continue
        position = positions.get(writer, START)
        for info in disk.files(root / writer):
            sequence = sequence_of(info.name)
            if sequence is None:
                continue
            held += info.size
            if sequence > position.sequence:
                unread += info.size
            elif sequence == position.sequence:
                unread += max(0, info.size - position.offset)
    return Backlog(unread, held - unread)


def shortage(room: Room, settings: Log, before: str = "") -> str:
    """Why there is no room, or `""`; what was short `before` is so until there is clearly more. The disk comes first:
    it is the worse of the two."""
    free_bytes_min, bytes_max = settings.free_bytes_min, settings.bytes_max
    if before == DISK_FULL:
        free_bytes_min = int(free_bytes_min * RESUME_FREE_SHARE)
    if before == LOG_FULL:
        bytes_max = int(bytes_max * RESUME_BYTES_SHARE)
    if room.free_bytes < free_bytes_min:
        return DISK_FULL
    return LOG_FULL if room.unread_bytes >= bytes_max else ""


class RoomWatch:
    """Whether there is room to append, as of the last look: `short` is why not, or `""`. Of the processes that watch
    one log, one `speaks`."""

    def __init__(self, disk: Disk, root: Path, settings: Log, *, speaks: Callable[[], bool] = lambda: True) -> None:
        self._disk = disk
        self._root = root
        self._settings = settings
        self._speaks = speaks
        self._blind = False
        self.short = ""

    def look(self) -> None:
        """Looks once; a disk that cannot be looked at changes nothing. May wait for the disk."""
        try:
            room = room_of(self._disk, self._root)
        except OSError as error:
            if self._speaks() and not self._blind:
                logger.error("log: nobody can tell how much room there is; what was found before stays: %s", error)
            self._blind = True
            return
        self._blind = False
        before, self.short = self.short, shortage(room, self._settings, self.short)
        if self._speaks() and before != self.short:  # asked at each look, for whoever speaks may have ended
            self._tell(room)

    def _tell(self, room: Room) -> None:
        if not self.short:
            logger.warning("log: there is room again: everything is accepted as before")
        elif self.short == DISK_FULL:
            what = "log: %s are free, less than log.free_bytes_min, %s: nothing is accepted until there is more"
            logger.error(what, size_text(room.free_bytes), size_text(self._settings.free_bytes_min))
        else:
            what = "log: %s wait to be loaded, and log.bytes_max is %s: nothing is accepted until some are"
            logger.error(what, size_text(room.unread_bytes), size_text(self._settings.bytes_max))


class Growth:
    """How fast what waits grows, of looks at it over the last minute."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int]] = deque()

    def note(self, at_s: float, unread_bytes: int) -> None:
        """A look at the time `at_s`, by any clock that does not jump."""
        self._looks.append((at_s, unread_bytes))
        while at_s - self._looks[0][0] > GROWTH_SECONDS:
            self._looks.popleft()

    def bytes_per_second(self) -> float | None:
        """None while it does not grow: where loading goes on, what waits goes up and down, so it grows only where all
        of the later looks found more than any of the earlier ones."""
        looks = list(self._looks)
        earlier, later = looks[: len(looks) // 2], looks[len(looks) // 2 :]
        if not earlier or min(size for _, size in later) <= max(size for _, size in earlier):
            return None
        (begin_s, begin), (end_s, end) = looks[0], looks[-1]
        return (end - begin) / (end_s - begin_s) if end_s > begin_s else None


def seconds_left(room: Room, settings: Log, bytes_per_second: float | None) -> float | None:
    """Until nothing is accepted any more, if what waits goes on growing so fast; None where it does not grow."""
    if bytes_per_second is None:
        return None
    left = min(settings.bytes_max - room.unread_bytes, room.free_bytes - settings.free_bytes_min)
    return max(0.0, left / bytes_per_second)
