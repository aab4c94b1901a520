"""Removes from the store what is older than it is kept, so that the bytes are gone, and the books still balance.

One pass: close the books of what goes, remove events and blank bodies, then refusals, then both sides of the closed
books. The first step is durable before the second begins, and each can be done again: whatever is killed in between,
the ledger shows no difference, and the next pass finishes (docs/decisions/0009). The engine rewrites the parts in its
own threads; a pass only waits for it, and goes on when the store is opened again.

The engine does not notice that a disk is full (`room`). So no step begins without room, and what is noted for a removal
must be whole on the disk before anything is removed by it.

Whatever changes the store is begun inside `pause`, and waited for outside of it: a backup holds it while it freezes the
tables and counts, so that what it counts is what it froze.

Once `stop` is set, the statement that runs is cancelled in the engine, what it was rewriting is given up, and nothing
more is begun: that is one more way of being killed in between.

This knows no settings and no clock: `Cutoffs` come in, and the moment that they were reckoned at. It has a handle of
its own, one for each pass.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from catchment.store import queries, room
from catchment.store.failures import message_of
from catchment.store.store import StoreError

IDENTITIES_MAX = 4_000_000  # held in memory at one time, some 40 bytes each
_POLL_S = 0.2
_MARK = "a removal"  # of the handle of a pass: what runs on it is told from all else by this
_CANCELLED = "(QUERY_WAS_CANCELLED)"
_GIVE_UP = "KILL MUTATION WHERE database = 'catchment' AND NOT is_done"
# What is removed behind the events, each by the query `expire_NAME`.
_PARTS = ("rejections", "replays", "deliveries", "tallies")


logger = logging.getLogger(__name__)


class Cutoffs(NamedTuple):
    """From when on things of an application's source are kept, in seconds since 1970; 0 is for ever. Both names are ''
    for what belongs to no application."""

    app: str
    source: str
    events: int = 0
    rejections: int = 0
    bodies: int = 0


class Removed(msgspec.Struct):
    """How many rows a pass found too old; `deliveries` and `tallies` are those of the books."""

    events: int = 0
    bodies: int = 0
    rejections: int = 0
    replays: int = 0
    deliveries: int = 0
    tallies: int = 0


class Expiry:
    """`open_handle` gives a handle of the engine. Inside `pause` nothing is inserted."""

    def __init__(self, open_handle: Callable[[], Client], pause: Callable[[], AbstractContextManager[None]]) -> None:
        self._open_handle = open_handle
        self._pause = pause

    def remove(self, cutoffs: Sequence[Cutoffs], stop: threading.Event, *, at: float) -> Removed | None:
        """One pass, which began `at` seconds since 1970, and that is noted at its end; None, at once, where `stop` is
        set before. Raises `StoreError`, after which a pass may follow."""
        try:
            with self._cancelling(stop), self._handle(stop) as handle:
                found = handle.remove(cutoffs, self._pause)
                with self._pause():
                    handle.finish(int(at))
                return found
        except _Stopped:
            pass
        except StoreError as error:
            if not (stop.is_set() and _CANCELLED in str(error)):
                raise
        self._command(_GIVE_UP)
        return None

    @contextmanager
    def _cancelling(self, stop: threading.Event) -> Iterator[None]:
        """Cancels in the engine whatever a pass has running, as soon as `stop` is set."""
        ended = threading.Event()
        thread = threading.Thread(target=self._cancel, args=(stop, ended), name="removal-stop")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _cancel(self, stop: threading.Event, ended: threading.Event) -> None:
        while not ended.wait(_POLL_S):
            if not stop.is_set():
                continue
            try:
                self._command(queries.text("expire_cancel"), {"mark": _MARK})
            except StoreError as error:  # then the step that runs is waited for
                logger.warning("retention: the removal could not be stopped: %s", error)

    def _command(self, statement: str, values: dict[str, Any] | None = None) -> None:
        """On a handle of its own, for it stops what another one does."""
        try:
            client = self._open_handle()
            try:
                client.command(statement, parameters=values)
            finally:
                client.close()
        except ClickHouseError as error:
            raise StoreError(message_of(error)) from error

    @contextmanager
    def _handle(self, stop: threading.Event) -> Iterator["_Pass"]:
        client: Client | None = None
        try:
            client = self._open_handle()
            yield _Pass(client, stop)
        except ClickHouseError as error:
            raise StoreError(message_of(error)) from error
        finally:
            if client is not None:
                client.close()


class _Stopped(Exception):
    """The pass ends here: `stop` is set."""


class _Pass:
    """The steps, on one handle. Once `stop` is set, each raises `_Stopped`, or that it was cancelled."""

    def __init__(self, client: Client, stop: threading.Event) -> None:
        self._client = client
        self._stop = stop
        client.raw_query(f"SET log_comment = '{_MARK}'", use_database=False)
        self._folder = Path(self._row("store_folder")["path"])

    def remove(self, cutoffs: Sequence[Cutoffs], pause: Callable[[], AbstractContextManager[None]]) -> Removed:
        self._give_up_earlier_passes()
        if not cutoffs:
            return Removed()
        values = _parameters(cutoffs)
        found = msgspec.convert(self._row("expire_counts", values), Removed)
        if found == Removed():
            return found
        with pause():
            self._note("kept_from", "expire_close_books", values)
        if found.events or found.bodies:
            with pause():  # an event that comes again now would go with its older copy
                self._spare(values, found.events)
                self._run("expire_events", values)
            self._wait()
        for part in _PARTS:
            if getattr(found, part):
                with pause():
                    self._run(f"expire_{part}", values)
                self._wait()
        return found

    def finish(self, at: int) -> None:
        """Notes when the pass began, for it came to its end. Where a later moment stands there, the clock was set back
        since: it is taken back, or it would vouch for a clock that goes there again."""
        self._command("TRUNCATE TABLE catchment.spared_events")
        if self._row("removal_moment")["seconds"] > at:
            self._run("removal_set_back", {"at": at})
        self._run("removal_done", {"at": at})

    def _spare(self, values: dict[str, Any], events: int) -> None:
        self._command("TRUNCATE TABLE catchment.spared_events")
        shares = events // IDENTITIES_MAX + 1 if events else 0
        for share in range(shares):
            self._note("spared_events", "expire_spare", values | {"shares": shares, "share": share})

    def _give_up_earlier_passes(self) -> None:
        """Begun by a process that ended since; this pass does all that was left."""
        if self._row("expire_pending")["pending"]:
            self._client.command(f"{_GIVE_UP} SYNC")

    def _wait(self) -> None:
        while (state := self._row("expire_pending"))["pending"]:
            if state["failure"]:
                self._give_up_earlier_passes()
                raise StoreError(state["failure"])
            self._stop.wait(_POLL_S)

    def _note(self, table: str, name: str, values: dict[str, Any]) -> None:
        """Inserts into a table what a removal goes by."""
        self._run(name, values)
        for row in self._rows(queries.text("expire_parts"), {"table": table}):
            part = Path(row["path"])
            if room.is_whole(part, row["bytes"]):
                continue
            if any(not row["is_passed"] for row in self._rows(f"CHECK TABLE catchment.{table} PART '{part.name}'")):
                raise StoreError(f"the disk did not take all of {table} {part.name}", passing=True)

    def _run(self, name: str, values: dict[str, Any]) -> None:
        self._command(queries.text(name), values)

    def _command(self, statement: str, values: dict[str, Any] | None = None) -> None:
        self._go_on()
        room.require(self._folder)
        self._client.command(statement, parameters=values)

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise _Stopped

    def _row(self, name: str, values: dict[str, Any] | None = None) -> dict[str, Any]:
        [row] = self._rows(queries.text(name), values)
        return row

    def _rows(self, query: str, values: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        self._go_on()
        text = self._client.raw_query(query, parameters=values, fmt="JSONEachRow", use_database=False)
        rows: list[dict[str, Any]] = [msgspec.json.decode(line) for line in text.splitlines()]
        return [{name: int(value) if str(value).isdigit() else value for name, value in row.items()} for row in rows]


def _parameters(cutoffs: Sequence[Cutoffs]) -> dict[str, Any]:
    """See `expire_counts.sql`. Books are open from where both the events and the refusals of a source are kept."""
    moments = {
        "events": [cutoff.events for cutoff in cutoffs],
        "rejections": [cutoff.rejections for cutoff in cutoffs],
        "bodies": [cutoff.bodies for cutoff in cutoffs],
        "books": [max(cutoff.events, cutoff.rejections) for cutoff in cutoffs],
    }
    latest = {f"{kind}_latest": max(of_kind) for kind, of_kind in moments.items()}
    return {"names": [f"{cutoff.app}/{cutoff.source}" if cutoff.app else "" for cutoff in cutoffs]} | moments | latest
