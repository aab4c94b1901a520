"""The contract of the store: whole lines of the log in, SQL out.

Putting lines in twice must not show: every reader sees each event, update and rejection once. `tests/store/contract.py`
is the same contract as tests, for every implementation.
"""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import msgspec


class QueryError(Exception):
    """The query is not allowed, is wrong, or went over a bound: the asker's fault. The text says what to change."""


class StoreError(Exception):
    """The store did not take the lines; nobody knows how many of them. Putting them in again is harmless.

    Where it is `passing`, the reason is the store's machine, like a full disk, and none of the lines is to blame. Where
    it is `divisible` as well, like too little memory, fewer lines at once may be taken.
    """

    def __init__(self, message: str, *, passing: bool = False, divisible: bool = False) -> None:
        super().__init__(message)
        self.passing = passing
        self.divisible = divisible


class OtherVersion(StoreError):
    """Another version of Catchment made the store; only that one can open it."""


class Column(msgspec.Struct, frozen=True):
    """A column of an answer: its name and its ClickHouse type."""

    name: str
    type: str


class Rows(NamedTuple):
    """An answer. Values are what JSON has: numbers, texts, booleans, null, lists, objects."""

    columns: list[Column]
    rows: list[dict[str, Any]]


class Answer(msgspec.Struct):
    """An answer whose rows are still JSON: it may be large, and who only hands it on need not decode it."""

    columns: list[Column] = msgspec.field(name="meta")
    encoded: msgspec.Raw = msgspec.field(name="data")

    @property
    def rows(self) -> list[dict[str, Any]]:
        """As `Rows.rows`."""
        found: list[dict[str, Any]] = json.loads(bytes(self.encoded))
        return found


class AskByName(Protocol):
    """Answers one of the program's own queries, `queries/NAME.sql`. Raises `QueryError`."""

    def __call__(self, name: str, /, **parameters: Any) -> list[dict[str, Any]]: ...


class Store(Protocol):
    """One process's hold on the store. `insert` is called from one thread, `query` from any."""

    def migrate(self) -> list[str]:
        """Brings the schema up to date; the names of the migrations that it applied."""
        ...

    def insert(self, lines: bytes) -> None:
        """Puts whole record lines in, durably. Raises `StoreError`."""
        ...

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Answer:
        """Answers one read-only query within the bounds of the `sql` settings. Raises `QueryError`."""
        ...

    def asking(self) -> AbstractContextManager[AskByName]:
        """For the program's own queries: one of its threads at a time asks them, and waits for no query of others."""
        ...

    def tables(self) -> list[dict[str, Any]]:
        """What each table takes on the disk: `table`, `rows`, `bytes`; the largest first."""
        ...

    def close(self) -> None:
        """Lets go of the store."""
        ...
