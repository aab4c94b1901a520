"""What `catchment status` tells: what came in, how far behind the store is, what it costs on disk."""

import time
from pathlib import Path
from typing import Any

from catchment.api.disk import disk_use
from catchment.loader import Loader
from catchment.log.log import LogReader
from catchment.store import queries
from catchment.store.store import Store

BOOKS_HOURS = 24


def overview(store: Store, log: LogReader, loader: Loader, data_dir: Path) -> dict[str, Any]:
    """The books, rates per application and source, lag, disk in bytes, whether loading works, and when what is too old
    was removed."""
    backlog, progress = log.backlog(), loader.progress
    now = time.time()
    return {
        "books": books(store, loader),
        "rates": store.query(queries.text("rates")).rows,
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
        },
        "disk": disk_use(data_dir, backlog, store),
        "retention": store.query(queries.text("removal")).rows[0],
    }


def books(store: Store, loader: Loader) -> dict[str, Any]:
    """Whether what came in adds up, in all and by application and source: the ledger of the last hours. Looked at
    between two inserts, for within one the tables are filled one after the other."""
    with loader.pause():
        rows = store.query(queries.text("books"), {"hours": BOOKS_HOURS}).rows
    sums = ("received", "stored", "duplicate", "rejected", "late", "difference")
    return {"hours": BOOKS_HOURS} | {name: sum(row[name] for row in rows) for name in sums} | {"rows": rows}
