"""What the data dir takes on its disk, part by part: the log in the states of its bytes, the store by table, the rest.

The figures of the log are the sizes of its files; those of the folders are blocks that the disk gave them.
"""

import os
import shutil
from pathlib import Path
from typing import Any

from catchment.log.log import Backlog
from catchment.store.store import Store

# The first part of a path in the data dir, and what is counted under it; everything else is `other`.
_PLACES = {
    "log": "log",
    "store": "store",
    "answers.sqlite": "answers",
    "answers.sqlite-wal": "answers",
    "answers.sqlite-shm": "answers",
}


def disk_use(data_dir: Path, backlog: Backlog, store: Store) -> dict[str, Any]:
    """In bytes: `log` and what it is made of, `store`, remembered `answers`, `other`, and what is `free` on that disk;
    `tables` has a row for each table of the store that has one."""
    places = _places(data_dir)
    return {
        "log_bytes": sum(backlog[:3]),
        "log_unread_bytes": backlog.unread_bytes,
        "log_loaded_bytes": backlog.loaded_bytes,
        "log_aside_bytes": backlog.aside_bytes,
        "log_aside_files": backlog.aside_files,
        "store_bytes": places["store"],
        "answers_bytes": places["answers"],
        "other_bytes": places["other"],
        "free_bytes": shutil.disk_usage(data_dir).free,
        "tables": store.tables(),
    }


def _places(data_dir: Path) -> dict[str, int]:
    found = dict.fromkeys((*_PLACES.values(), "other"), 0)
    for folder, _, files in os.walk(data_dir):
        top = Path(folder).relative_to(data_dir).parts[:1]
        for name in files:
            try:
                size = os.lstat(os.path.join(folder, name)).st_blocks * 512
            except FileNotFoundError:
                continue  # merged away meanwhile
            found[_PLACES.get(top[0] if top else name, "other")] += size
    return found
