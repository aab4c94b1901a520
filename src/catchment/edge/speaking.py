"""Which of the edge processes tells what all of them find: the one that holds `reload.lock`.

The lock is its holder's until it ends. So whoever has something to tell tries again to get it: the processes of a group
are all replaced at times, while the one that speaks still finishes its requests, and any may die.
"""

from collections.abc import Callable
from pathlib import Path

from catchment.log.disk import Disk


class Speaker:
    """Whether this process speaks: to be called, from any thread, whenever that is asked. `begin` is called once it
    does, for what may have been found while nobody did."""

    def __init__(self, disk: Disk, lock: Path, begin: Callable[[], None]) -> None:
        self._disk = disk
        self._path = lock
        self._begin = begin
        self._lock: int | None = None

    def __call__(self) -> bool:
        """True for ever once the lock was got. May wait for the disk."""
        if self._lock is None:
            try:
                found = self._disk.try_lock(self._path)
            except OSError:
                return False  # as somebody who has nothing to say
            if found is not None:  # never None in its place: two threads may try at once
                self._lock = found
                self._begin()
        return self._lock is not None
