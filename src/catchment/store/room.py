"""What a full disk does to the engine, and how that is undone. The engine (26.9, embedded) does not notice it.

Where the disk takes no more, the engine goes on with files that are empty or cut off, and nothing fails (measured,
docs/decisions/0004). So:

- Nothing is given to it, and no definition is changed, unless there is some room (`require`).
- After each insert, and every few seconds, somebody looks at each new part of a table (`parts`): its files must be as
  large as the engine thinks (`is_whole`). An insert of which a part is broken has failed, so its lines stay in the log.
  A merge of which the part is broken has not cost what it was made of, for that stays a while (`KEEP_REPLACED_S`).
  Either way the process has to end: when the engine opens the store again, it sets the broken part aside and goes back
  to those that it was made of. Merges are synced, too: what they replace may be all that a power cut would leave.
- A definition of a view that is cut off would keep the store shut for ever. A view holds nothing, so it is removed
  (`remove_torn_views`) and made anew.
"""

import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from catchment.settings import MIB
from catchment.sizes import size_text
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

logger = logging.getLogger(__name__)


def require(folder: Path) -> None:
    """Raises `StoreError` where the disk has not the room that the engine needs in order not to harm itself."""
    free = shutil.disk_usage(folder).free
    if free < ROOM_BYTES_MIN:
        left, needed = size_text(free), size_text(ROOM_BYTES_MIN)
        raise StoreError(f"the disk of {folder} has {left} left, and it needs {needed}", passing=True)


def remove_torn_views(store: Path, views: Sequence[str]) -> None:
    """Removes the definitions of views that have no end, from a store that is not open."""
    for name in views:
        for file in store.glob(f"store/*/*/{name}.sql"):
            if not file.read_bytes().endswith(b"\n"):
                logger.warning("store: the view %s was cut off by a full disk, and is made anew", name)
                file.unlink()


def is_whole(folder: Path, size: int) -> bool:
    """Whether the disk has all of a part, in which the engine thinks so many bytes are."""
    try:
        with os.scandir(folder) as entries:
            sizes = {entry.name: entry.stat().st_size for entry in entries}
    except FileNotFoundError:
        return True  # it was merged away meanwhile
    unsummed = [sizes.pop(name) for name in _UNSUMMED & sizes.keys()]
    return all(unsummed) and sum(sizes.values()) >= size
