"""Lets the log forget the segments that are behind the position: at once, or after the hours that they are to be kept
while there is room. One with a `.damaged` note beside it stays for ever.

The newest segment of a folder stays as long as somebody may write to it, and the position names it afterwards, so that
sequences never start over.
"""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from catchment.log.disk import Disk, FileInfo
from catchment.log.findings import Findings, damaged_segments
from catchment.log.folder import LOCK_NAME
from catchment.log.patience import PatientDisk
from catchment.log.position import Position
from catchment.log.room import RESUME_FREE_SHARE
from catchment.log.segment import SEAL_BYTES_MAX, SEAL_START, scan, seal_of, segments_of
from catchment.settings import Log

NEWEST_HOURS = 1.0  # how old a newest segment is before it is looked at whether anybody will write to it
ROOM_LOOK_S = 1.0

logger = logging.getLogger(__name__)


class Removal:
    """Removes segments below `root`; used by the reader's thread only."""

    def __init__(
        self,
        disk: Disk,
        root: Path,
        settings: Log,
        segments: PatientDisk,
        findings: Findings,
        clock: Callable[[], float],
    ) -> None:
        self._disk = disk
        self._root = root
        self._settings = settings
        self._segments = segments
        self._findings = findings
        self._clock = clock
        self._look_again_at = 0.0
        self._done_since: dict[Path, tuple[int, float]] = {}  # since when a segment of that size is behind the position

    def loaded(self, positions: Mapping[str, Position]) -> None:
        """Removes what is behind these positions, by writer, and need not be kept for some hours more."""
        hours = 0.0 if self._is_short_of_room() else self._settings.keep_loaded_hours
        for writer, position in positions.items():
            self._behind(writer, position, hours)

    def make_room(self, positions: Mapping[str, Position]) -> None:
        """While nothing is appended because the disk is short, nothing is committed, which is when segments go."""
        if self._settings.keep_loaded_hours and self._clock() >= self._look_again_at:
            self._look_again_at = self._clock() + ROOM_LOOK_S
            if self._is_short_of_room():
                self.loaded(positions)

    def newest(self, writer: str, position: Position) -> None:
        """Removes the newest segment, of which nothing waits, where nobody will write to it any more: its writer sealed
        it, or has gone. Raises `OSError`.

        Only where it is the last one, and durably so: an older one that a power cut brings back without it would be
        taken for a folder that somebody replaced.
        """
        folder = self._root / writer
        segments = segments_of(self._disk.files(folder))
        if len(segments) != 1 or segments[0][0] != position.sequence:
            return  # the position goes on counting for what is removed, and for nothing else
        path, info = folder / segments[0][1].name, segments[0][1]
        if not self._is_older(path, info, max(NEWEST_HOURS, self._settings.keep_loaded_hours)):
            return
        lock = self._disk.try_lock(folder / LOCK_NAME)
        try:
            if lock is None and not (position.offset == info.size and self._ends_with_seal(path, info.size)):
                return
            if segments_of(self._disk.files(folder)) != segments:
                return  # a writer has come and gone meanwhile
            data, found = self._segments.scan(path, position.offset)
            if found.end:
                return  # there is something to read first
            if data:
                self._findings.tail(path, position.offset, data)
                self._findings.write()
            if info.name not in damaged_segments(self._disk.files(folder)):
                self._disk.sync_folder(folder)
                self._remove(path)
        finally:
            if lock is not None:
                self._disk.unlock(lock)

    def _behind(self, writer: str, position: Position, hours: float) -> None:
        folder = self._root / writer
        try:
            infos = self._disk.files(folder)
            damaged = damaged_segments(infos)
            for sequence, info in segments_of(infos)[:-1]:
                done = sequence < position.sequence and info.name not in damaged
                if done and self._is_older(folder / info.name, info, hours):
                    self._remove(folder / info.name)
        except OSError as error:
            logger.warning("log: segments of %s that are loaded were not removed: %s", folder, error)

    def _is_short_of_room(self) -> bool:
        """Whether what is kept for longer than it must be is in the way of new events, or soon will be."""
        if not self._settings.keep_loaded_hours:
            return False
        try:
            return self._disk.free_bytes(self._root) < self._settings.free_bytes_min * RESUME_FREE_SHARE**2
        except OSError:
            return False

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
        self._segments.forget(path)
