"""When files have changed: for whoever looks at them from time to time.

Files have changed when their stamps - times, size, inode, rights - are other ones. Stamps are only ever compared for
equality, so a wall clock that jumps does nothing. A change is told once two looks in a row find the same stamps: what
is still being written is left alone.
"""

from pathlib import Path

LOOK_S = 1.0
Stamp = tuple[int, ...] | None


def stamp(path: Path) -> Stamp:
    """What changes when a file does, its rights too, which may be why it cannot be read; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_dev, found.st_ino


class FileWatch:
    """Watches some files together. How they are now is a change too: whoever read them before may have read others."""

    def __init__(self, *paths: Path) -> None:
        self._paths = paths
        self._taken: list[Stamp] = []
        self._seen = self._stamps()

    def changed(self) -> bool:
        """One look: whether they are other ones than when this was last true, and the same as at the last look."""
        stamps = self._stamps()
        settled = stamps == self._seen
        self._seen = stamps
        if stamps == self._taken or not settled:
            return False
        self._taken = stamps
        return True

    def forget(self) -> None:
        """What was told could not be used now: the next look tells it again, if it is still left alone."""
        self._taken = []

    def _stamps(self) -> list[Stamp]:
        return [stamp(path) for path in self._paths]
