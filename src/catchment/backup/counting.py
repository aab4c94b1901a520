"""What the store answers to be compared with after a restore: rows by view, and the sums of the ledger.

The ledger of all time is added up in slices of hours, so that a large store stays within the bounds of a query.
"""

import time
from collections.abc import Iterator
from contextlib import suppress

from catchment.backup.manifest import Counts
from catchment.store import queries
from catchment.store.store import QueryError, Store

ROWS = {
    "events": "SELECT count() AS n FROM events",
    "users": "SELECT count() AS n FROM users",
    "visitors": "SELECT count() AS n FROM visitors",
    "companies": "SELECT count() AS n FROM companies",
    "subscriptions": "SELECT count() AS n FROM subscriptions",
    "rejections": "SELECT count() AS n FROM rejections",
}
SLICE_ROWS = 2_000_000
_BEGIN, _END = "1970-01-01 00:00:00", "2106-02-07 00:00:00"


def count(store: Store, *, within_s: float = float("inf")) -> Counts:
    """The counts; after `within_s` seconds nothing more is begun, and what went over a bound of a query is left out."""
    deadline = time.monotonic() + within_s
    found = {}
    for view, query in ROWS.items():
        if time.monotonic() < deadline:
            with suppress(QueryError):
                found[view] = int(store.query(query).rows[0]["n"])
    return Counts(found, _books(store, deadline))


def _books(store: Store, deadline: float) -> dict[str, int]:
    """The sums of the ledger; nothing where it took too long."""
    total: dict[str, int] = {}
    try:
        for begin, end in _slices(store):
            if time.monotonic() > deadline:
                return {}
            [row] = store.query(queries.text("backup_books"), {"begin": begin, "end": end}).rows
            total = {name: total.get(name, 0) + int(value) for name, value in row.items()}
    except QueryError:
        return {}
    return total


def _slices(store: Store) -> Iterator[tuple[str, str]]:
    """Spans of time that hold all there is, each with about `SLICE_ROWS` records, or one hour."""
    begin, rows = _BEGIN, 0
    for hour in store.query(queries.text("backup_hours")).rows:
        if rows and rows + hour["n"] > SLICE_ROWS:
            yield begin, hour["hour"]
            begin, rows = hour["hour"], 0
        rows += hour["n"]
    yield begin, _END
