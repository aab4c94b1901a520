"""Whether the disk has what the engine merged. The engine (26.9, embedded) does not notice it where a disk is full.

A merge that the disk takes no more is counted as done, with files that are empty; the parts that it was made of are
removed, and what they held is gone, though each had been synced. So they stay for a while (`KEEP_REPLACED_S`), in which
somebody looks at each merged part: its files must be as large as the engine thinks. Where one is not, the engine has to
open the store again: it then sets the broken part aside and goes back to those that it was made of (measured,
docs/decisions/0004). Merges are synced too, for what they replace may be all that a power cut would leave.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

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
                "store: the disk did not take what was merged into %s; opening the store again goes back to what it was"
                " merged from, so this process ends and is started again",
                ", ".join(found),
            )
            self._given_up = True
            self._give_up()


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
