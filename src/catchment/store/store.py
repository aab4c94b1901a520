"""The contract of the store: whole lines of the log in, SQL out.

Putting lines in twice must not show: every reader sees each event, update and rejection once. `tests/store/contract.py`
is the same contract as tests, for every implementation.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol


class QueryError(Exception):
    """The query is not allowed, is wrong, or went over a bound: the asker's fault. The text says what to change."""


class StoreError(Exception):
    """The store did not take the lines; nobody knows how many of them. Putting them in again is harmless.

    Where it is `passing`, the reason is the store's machine, like a full disk, and none of the lines is to blame.
    """

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


class OtherVersion(StoreError):
    """Another version of Catchment made the store; only that one can open it."""


class Column(NamedTuple):
    """A column of an answer: its name and its ClickHouse type."""

    name: str
    type: str


class Rows(NamedTuple):
    """An answer. Values are what JSON has: numbers, texts, booleans, null, lists, objects."""

    columns: list[Column]
    rows: list[dict[str, Any]]


class Store(Protocol):
    """One process's hold on the store. `insert` is called from one thread, `query` from any."""

    def migrate(self) -> list[str]:
        """Brings the schema up to date; the names of the migrations that it applied."""
        ...

    def insert(self, lines: bytes) -> None:
        """Puts whole record lines in, durably. Raises `StoreError`."""
        ...

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Rows:
        """Answers one read-only query within the bounds of the `sql` settings. Raises `QueryError`."""
        ...

    def tables(self) -> list[dict[str, Any]]:
        """What each table takes on the disk: `table`, `rows`, `bytes`; the largest first."""
        ...

    def close(self) -> None:
        """Lets go of the store."""
        ...
