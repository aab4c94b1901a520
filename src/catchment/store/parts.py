"""Looks at each new part of the tables, for the engine does not notice what the disk did not take (see `room`).

What an insert made is looked at behind it, and an insert of which a part is broken has failed. What merges made is
looked at by a thread of its own (`PartsWatch`), all the while that the engine is open: for as long as it keeps what a
merge replaced, ending the process brings it back, and after that nothing does. So the thread waits for nobody, and
where a part is broken it ends the process at once, whatever else is under way; a kill costs nothing at any moment.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from catchment.store import queries, room
from catchment.store.guard import DATABASE

_GONE = "NO_SUCH_DATA_PART"
LOOK_S = 5.0  # much less than `room.KEEP_REPLACED_S`, so that several looks may fail

logger = logging.getLogger(__name__)


class Part(NamedTuple):
    """One part of a table, as the engine lists it."""

    folder: Path
    table: str
    bytes: int

    def __str__(self) -> str:
        return f"{self.table} {self.folder.name}"


class Parts:
    """The parts in use, each looked at once; for one thread, on a handle of its own."""

    def __init__(self, open_handle: Callable[[], Client]) -> None:
        self._open_handle = open_handle
        self._handle: Client | None = None
        self._whole: frozenset[Part] = frozenset()

    def accept(self, parts: Iterable[Part] | None = None) -> None:
        """These need not be looked at again; without an argument, all that are there now."""
        self._whole = self._whole.union(self._listed() if parts is None else parts)

    def broken(self) -> list[Part]:
        """Those that are not whole on the disk, of which there may be any number of looks."""
        listed = self._listed()
        suspects = (part for part in listed - self._whole if not room.is_whole(part.folder, part.bytes))
        found = [part for part in suspects if not self._passes(part)]
        self._whole = frozenset(listed - set(found))
        return found

    def has_replaced(self, part: Part) -> bool:
        """Whether the engine still has what was merged into the part."""
        asked = {"database": DATABASE, "table": part.table, "part": part.folder.name}
        return self._ask(queries.text("replaced_parts"), asked).strip() != "0"

    def close(self) -> None:
        """Lets go of the handle."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def _listed(self) -> set[Part]:
        rows = (row.split("\t") for row in self._ask(queries.text("parts"), {"database": DATABASE}).splitlines())
        return {Part(Path(path), table, int(size)) for path, table, size in rows}

    def _passes(self, part: Part) -> bool:
        """What the engine itself finds when it looks at the files."""
        try:
            answer = self._ask(f"CHECK TABLE {DATABASE}.{part.table} PART '{part.folder.name}'", {})
        except ClickHouseError as error:
            return _GONE in str(error)  # merged or dropped since it was listed
        return all(row.split("\t")[1] == "1" for row in answer.splitlines())

    def _ask(self, query: str, parameters: dict[str, str]) -> str:
        """Of a handle on which something failed, an answer may begin with what it left (docs/decisions/0004)."""
        if self._handle is None:
            self._handle = self._open_handle()
        try:
            return self._handle.raw_query(query, parameters=parameters, use_database=False).decode()
        except BaseException:
            self.close()
            raise


class PartsWatch:
    """The thread; it looks until it is closed. `give_up` ends the process and does not come back."""

    def __init__(self, parts: Parts, give_up: Callable[[], None]) -> None:
        self._parts = parts
        self._give_up = give_up
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="parts-watch", daemon=True)

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def close(self) -> None:
        """Ends it; by then nothing else may have the engine open, or it would merge unseen."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        first = True
        try:
            while not self._closed.is_set():
                first = not self.look(first=first) and first
                self._closed.wait(LOOK_S)
        finally:
            self._parts.close()

    def look(self, *, first: bool = False) -> bool:
        """Looks once; whether it could. In the first look, a part that replaced nothing is one that the engine kept
        when it opened the store, so opening it again would not help: that is told, and lived with."""
        try:
            found = self._parts.broken()
            if first:
                helpless = [part for part in found if not self._parts.has_replaced(part)]
                for part in helpless:
                    logger.error("store: %s is damaged on the disk; what is in it may be lost", part)
                self._parts.accept(helpless)
                found = [part for part in found if part not in helpless]
        except Exception as error:  # a store that cannot tell now may tell next time
            logger.warning("store: whether its parts are whole could not be seen: %s", error)
            return False
        if found:
            logger.error(
                "store: the disk did not take all of %s; opening the store again goes back to what was there before, so"
                " this process ends and is started again",
                ", ".join(map(str, found)),
            )
            self._give_up()
        return True
