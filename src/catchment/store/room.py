"""What a full disk does to the engine, and how that is undone. The engine (26.9, embedded) does not notice it.

Where the disk takes no more, the engine goes on with files that are empty or cut off, and nothing fails (measured,
docs/decisions/0004). So:

- Nothing is given to it, and no definition is changed, unless there is some room (`require`).
- After each insert, and now and then, somebody looks at each new part of a table: its files must be as large as the
  engine thinks (`broken`). An insert of which a part is broken has failed, so its lines stay in the log. A merge of
  which the part is broken has not cost what it was made of, for that stays a while (`KEEP_REPLACED_S`). Either way the
  process has to end: when the engine opens the store again, it sets the broken part aside and goes back to those that
  it was made of. Merges are synced, too: what they replace may be all that a power cut would leave.
- A definition of a view that is cut off would keep the store shut for ever. A view holds nothing, so it is removed
  (`remove_torn_views`) and made anew.
"""

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from catchment.settings import MIB
from catchment.store.store import StoreError

ROOM_BYTES_MIN = 32 * MIB
KEEP_REPLACED_S = 120
TABLE_SETTINGS = {
    "old_parts_lifetime": KEEP_REPLACED_S,
    "min_rows_to_fsync_after_merge": 1,
    "min_compressed_bytes_to_fsync_after_merge": 1,
}
_UNSUMMED = frozenset(  # of a part's files, those that the engine's figure leaves out
    ("checksums.txt", "columns.txt", "columns_substreams.txt", "default_compression_codec.txt", "metadata_version.txt")
)

LOOK_S = 5.0  # much less than KEEP_REPLACED_S, so that several looks may fail

logger = logging.getLogger(__name__)


class PartsWatch:
    """Looks now and then; `give_up` is called once, when there are `broken_parts`: it ends the process in order."""

    def __init__(
        self,
        broken_parts: Callable[[], Sequence[str]],
        give_up: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._broken_parts = broken_parts
        self._give_up = give_up
        self._clock = clock
        self._next_at = clock()
        self._given_up = False

    def look(self) -> None:
        """To be called again and again by the thread that inserts; never fails."""
        if self._given_up or self._clock() < self._next_at:
            return
        self._next_at = self._clock() + LOOK_S
        try:
            found = self._broken_parts()
        except Exception as error:  # a store that cannot tell now may tell next time
            logger.warning("store: whether its parts are whole could not be seen: %s", error)
            return
        if found:
            logger.error(
                "store: the disk did not take all of %s; opening the store again goes back to what was there before, so"
                " this process ends and is started again",
                ", ".join(found),
            )
            self._given_up = True
            self._give_up()


def require(folder: Path) -> None:
    """Raises `StoreError` where the disk has not the room that the engine needs in order not to harm itself."""
    free = shutil.disk_usage(folder).free
    if free < ROOM_BYTES_MIN:
        raise StoreError(f"the disk of {folder} has {free:,} bytes left, and it needs {ROOM_BYTES_MIN:,}", passing=True)


def remove_torn_views(store: Path, views: Sequence[str]) -> None:
    """Removes the definitions of views that have no end, from a store that is not open."""
    for name in views:
        for file in store.glob(f"store/*/*/{name}.sql"):
            if not file.read_bytes().endswith(b"\n"):
                logger.warning("store: the view %s was cut off by a full disk, and is made anew", name)
                file.unlink()


def broken(parts: Iterable[tuple[Path, int]]) -> list[Path]:
    """Of parts, each a folder and the bytes that the engine thinks are in it, those that the disk has not whole."""
    return [folder for folder, size in parts if not _is_whole(folder, size)]


def _is_whole(folder: Path, size: int) -> bool:
    try:
        with os.scandir(folder) as entries:
            sizes = {entry.name: entry.stat().st_size for entry in entries}
    except FileNotFoundError:
        return True  # it was merged away meanwhile
    unsummed = [sizes.pop(name) for name in _UNSUMMED & sizes.keys()]
    return all(unsummed) and sum(sizes.values()) >= size
