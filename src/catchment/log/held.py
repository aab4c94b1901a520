"""Folders of the log of which nothing more can be read now: a segment of a later format, a block that the disk does not
read, a folder that cannot be listed.

Each is told once, kept in mind for whoever asks, and tried again now and then but not at each read: it would be looked
at many times a second, and a disk may take seconds to fail. So it slows none of the others.
"""

import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

RETRY_S = 5.0

logger = logging.getLogger(__name__)


class _Hold(NamedTuple):
    error: OSError
    reason: str
    again_at: float


class HeldFolders:
    """By name; `reasons` may be called from any thread, all else from the reader's."""

    def __init__(self, root: Path, clock: Callable[[], float]) -> None:
        self._root = root
        self._clock = clock
        self._held: dict[str, _Hold] = {}

    def hold(self, folder: str, error: OSError) -> None:
        """It could not be read."""
        reason = f"{error.filename or self._root / folder}: {error.strerror or error}"
        before = self._held.get(folder)
        if before is None or before.reason != reason:
            logger.error("log: what waits in %s is not loaded; other folders are: %s", self._root / folder, reason)
        self._held[folder] = _Hold(error, reason, self._clock() + RETRY_S)

    def release(self, folder: str) -> None:
        """It was read."""
        if self._held.pop(folder, None):
            logger.warning("log: %s can be read again", self._root / folder)

    def rests(self, folder: str) -> bool:
        """Whether it was found not to be readable a moment ago."""
        held = self._held.get(folder)
        return held is not None and self._clock() < held.again_at

    def keep_only(self, folders: Collection[str]) -> None:
        """Forgets those that are not there any more."""
        for folder in self._held.keys() - set(folders):
            del self._held[folder]

    def require_another(self, folders: Collection[str]) -> None:
        """Raises the `OSError` of one of them where none of them can be read."""
        if folders and self._held.keys() >= set(folders):
            raise next(iter(self._held.values())).error

    def reasons(self) -> list[str]:
        """A sentence for each: the file or folder, and what is wrong with it."""
        return [held.reason for held in list(self._held.values())]
