"""What `catchment status` tells: what came in, how far behind the store is, what it costs on disk.

And its pulse, which is what can be told without asking the store.
"""

import shutil
import time
from pathlib import Path
from typing import Any

from catchment import maintenance
from catchment.api.disk import disk_use
from catchment.loader import Loader
from catchment.log.log import Backlog, LogReader
from catchment.log.room import Growth, Room, seconds_left, shortage
from catchment.settings import Log, Settings
from catchment.store.store import Store

BOOKS_HOURS = 24


def overview(
    store: Store, log: LogReader, loader: Loader, data_dir: Path, settings: Log, growth: Growth
) -> dict[str, Any]:
    """The books, rates per application and source, lag, disk in bytes, when what is too old was removed, how much room
    is left for how long, and whether loading works: `unreadable` is what of the log is not loaded, and why."""
    backlog, progress = log.backlog(), loader.progress
    now = time.time()
    room = _room(backlog, shutil.disk_usage(data_dir).free)
    with store.asking() as ask:
        rates, [removal] = ask("rates"), ask("removal")
    return {
        "books": books(store, loader),
        "rates": rates,
        "lag": {
            "unread_bytes": backlog.unread_bytes,
            "seconds": round(max(0.0, now - progress.caught_up_at), 1) if backlog.unread_bytes else 0.0,
        },
        "loader": {
            "batches": progress.batches,
            "bytes": progress.bytes,
            "unloadable_lines": progress.unloadable_lines,
            "failing_for_seconds": round(now - progress.failing_since, 1) if progress.failing_since else None,
            "last_error": progress.last_error,
            "unreadable": log.unreadable(),
        },
        "disk": disk_use(data_dir, backlog, store),
        "retention": removal,
        "room": room_left(room, settings, growth),
    }


def room_left(room: Room, settings: Log, growth: Growth) -> dict[str, Any]:
    """What waits in the log and what is free, each with its bound, and whether one is reached (`short`); how fast that
    grows in bytes a second, and in how many seconds nothing will be accepted any more: both None where it does not."""
    bytes_per_second = growth.bytes_per_second()
    left = seconds_left(room, settings, bytes_per_second)
    return {
        "unread_bytes": room.unread_bytes,
        "unread_bytes_max": settings.bytes_max,
        "free_bytes": room.free_bytes,
        "free_bytes_min": settings.free_bytes_min,
        "short": shortage(room, settings),
        "bytes_per_second": None if bytes_per_second is None else round(bytes_per_second),
        "seconds_left": None if left is None else round(left),
    }


def pulse(log: LogReader, loader: Loader, settings: Settings, data_dir: Path, growth: Growth) -> dict[str, Any]:
    """Lag, log and disk, and whether loading works: a few looks at files, some milliseconds."""
    backlog, progress = log.backlog(), loader.progress
    behind_s = max(0.0, time.time() - progress.caught_up_at) if backlog.unread_bytes else 0.0
    free_bytes = shutil.disk_usage(data_dir).free
    return {
        "unread_bytes": backlog.unread_bytes,
        "unread_records": log.unread_records() if backlog.unread_bytes else 0,
        "lag_seconds": behind_s,
        "failing": progress.failing_since is not None,
        "unreadable_folders": len(log.unreadable()),
        "log_bytes": backlog.held_bytes,
        "unsynced_bytes_max": settings.log.unsynced_bytes_max,
        "free_bytes": free_bytes,
        "room": room_left(_room(backlog, free_bytes), settings.log, growth),
        "maintenance": maintenance.state(data_dir) is not None,
    }


def books(store: Store, loader: Loader) -> dict[str, Any]:
    """Whether what came in adds up, in all and by application and source: the ledger of the last hours. Looked at
    between two inserts, for within one the tables are filled one after the other."""
    with store.asking() as ask, loader.pause():  # in this order, or loading would wait for whoever asks something
        rows = ask("books", hours=BOOKS_HOURS)
    sums = ("received", "stored", "duplicate", "rejected", "late", "difference")
    return {"hours": BOOKS_HOURS} | {name: sum(row[name] for row in rows) for name in sums} | {"rows": rows}


def _room(backlog: Backlog, free_bytes: int) -> Room:
    return Room(backlog.unread_bytes, backlog.held_bytes, free_bytes)
