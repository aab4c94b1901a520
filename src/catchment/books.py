"""The edge's side of the ledger: how much a process appended, told inside the log itself (docs/decisions/0007).

The first record of each append, and of each minute in it, says which process appended it (`edge`) and how many records
of its application, source and minute that process had appended by then, with these (`tally`). So any prefix of what a
process wrote says truly how much there must be, wherever it was killed, and of records that went missing behind it
the next one tells. Nothing comes behind the last record of a minute, so `close_minutes` writes the total once more.

This knows neither the log nor the clock. What could not be appended is taken back with `withdraw`; where that is not
known, `begin_anew` makes the process another one.
"""

import secrets
from collections.abc import Sequence

from catchment.record import Record, RejectionRecord

MINUTE_US = 60_000_000
_ID_BYTES = 5  # unique among the processes that append within one minute

_Page = tuple[str, str, int]  # application, source, minute since 1970


class Books:
    """Of one process that appends to the log. `edge` is fixed only for what must count once however often it is
    appended."""

    def __init__(self, edge: str | None = None) -> None:
        self._edge = edge or _fresh_id()
        self._tallies: dict[_Page, int] = {}
        self._before: list[tuple[_Page, int]] = []

    def enter(self, records: Sequence[Record]) -> str:
        """Writes `edge` and `tally` into the records of one append, which share application and source. The answer is
        for `begin_anew`."""
        first = records[0]
        self._before.clear()
        minute = first.received_us // MINUTE_US
        if records[-1].received_us // MINUTE_US == minute:
            self._enter(first, minute, len(records))
            return self._edge
        run: list[Record] = []
        for record in records:
            if run and record.received_us // MINUTE_US != run[0].received_us // MINUTE_US:
                self._enter(run[0], run[0].received_us // MINUTE_US, len(run))
                run = []
            run.append(record)
        self._enter(run[0], run[0].received_us // MINUTE_US, len(run))
        return self._edge

    def enter_rejection(self, rejection: RejectionRecord) -> str:
        """The same for a rejection, which may stand for many."""
        self._before.clear()
        self._enter(rejection, rejection.received_us // MINUTE_US, rejection.count)
        return self._edge

    def withdraw(self) -> None:
        """Takes back what was entered last: it was not appended."""
        while self._before:
            page, tally = self._before.pop()
            self._tallies[page] = tally

    def begin_anew(self, edge: str) -> None:
        """An append failed under way, and nobody knows what the log has of it: from now on another process counts."""
        if edge == self._edge:
            self._edge = _fresh_id()
            self._tallies.clear()

    def close_minutes(self, until_us: int) -> list[Record]:
        """The totals of all minutes that end before this arrival number; they are forgotten."""
        minute_now = until_us // MINUTE_US
        over = [page for page in self._tallies if page[2] < minute_now]
        return [self._closing(page, self._tallies.pop(page)) for page in over]

    def _enter(self, first: Record, minute: int, count: int) -> None:
        page = (first.app, first.source, minute)
        tally = self._tallies.get(page, 0)
        self._before.append((page, tally))
        self._tallies[page] = first.tally = tally + count
        first.edge = self._edge

    def _closing(self, page: _Page, tally: int) -> Record:
        app, source, minute = page
        return Record(
            app=app,
            source=source,
            kind="tally",
            event_id="",
            received_us=minute * MINUTE_US,
            payload="",
            edge=self._edge,
            tally=tally,
        )


def _fresh_id() -> str:
    return secrets.token_urlsafe(_ID_BYTES)
