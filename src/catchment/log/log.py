"""The contract of the log, in two halves that meet only on what is durable.

The edge appends lines through a `LogWriter`: when the future is done, the lines survive a power cut. The core takes
whole appends, in the order of their writer, through a `LogReader`, and commits how far it came once the work behind it
is durable. What was read but not committed is read again: a reader sees every append at least once, never a part of
one. `tests/log/contract.py` is the same contract as tests, for every implementation.
"""

from asyncio import Future
from typing import Any, NamedTuple, Protocol


class LogWriter(Protocol):
    """Appends from one edge process, on its event loop."""

    @property
    def number(self) -> int:
        """Which one it is of those that write to the same log at this time, from 0 on."""
        ...

    @property
    def failing(self) -> bool:
        """Whether the disk did not take the last lines, a moment ago, so that the next ones are likely to fail."""
        ...

    def append(self, lines: bytes) -> "Future[None]":
        """Queues whole lines as one unit; the future is done once they are durable.

        Raises `LogUnavailable`, at once or through the future, when they could not be made durable. The lines may
        then be there or not, but never a part of them.
        """
        ...

    async def close(self) -> None:
        """Makes everything that was appended durable, then lets go of the log."""
        ...


class Batch(NamedTuple):
    """Whole lines from the log, and the opaque position behind them. `appends` counts the units they came from."""

    lines: bytes
    position: Any
    appends: int


class Backlog(NamedTuple):
    """What the log holds on disk, in bytes: what the reader has not committed yet, what it has, and what was set aside
    because it could not be read, which is so many files. What nobody was promised, like a group that is being written,
    is not behind."""

    unread_bytes: int
    loaded_bytes: int = 0
    aside_bytes: int = 0
    aside_files: int = 0

    @property
    def held_bytes(self) -> int:
        """All of it."""
        return self.unread_bytes + self.loaded_bytes + self.aside_bytes


class LogReader(Protocol):
    """Takes batches from the log, on one thread of one process."""

    def read(self, bytes_max: int) -> Batch | None:
        """The lines after the committed position, about `bytes_max` of them; None if there are none. Does not block.

        What cannot be read now holds up nothing else, and is `unreadable`. Raises `OSError` where that is all there is.
        """
        ...

    def commit(self, batch: Batch) -> None:
        """Durably moves the position behind `batch`, and lets the log forget what it need not keep."""
        ...

    def backlog(self) -> Backlog:
        """How far behind the reader is; from any thread."""
        ...

    def unreadable(self) -> list[str]:
        """What could not be read when that was last tried, so that what waits there is not loaded: a sentence for each
        part of the log that is held up by it; from any thread."""
        ...

    def tidy(self) -> None:
        """Lets the log forget what it need not keep, also where nothing is committed any more; for now and then."""
        ...

    def unread_records(self) -> int:
        """How many records it is behind: exactly while these are few, else about."""
        ...

    def close(self) -> None:
        """Lets go of the log."""
        ...
