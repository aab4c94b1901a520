"""The verdict: what the clients know, against what the server's SQL finds.

`judge` is pure: accounts on one side, what was found on the other. `look` asks a healed server, one client at a time,
so that no answer holds more than one client's events.

- **lost**: acknowledged, and not found. **double**: found more than once.
- **invented**: found, but never sent whole; or found as something else than it was sent as; or no mark of ours.
- **refused**: a sound call that was answered 4xx. **taken**: a bad call that was answered with success.
- **nothing acknowledged**, of a vendor: what was not tested has not passed.
- **difference**: what the server's own books do not account for, minute by minute.

A refusal is answered without waiting for its record, so nothing is promised about it; how many were kept is told. Of a
chunked body that breaks off a refusal may be kept, and nothing else.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, NamedTuple, Protocol

from catchment.torture.account import TOLD_MAX, Account, State
from catchment.torture.calls import FORMS, mark

LOSS, DOUBLE, INVENTED, REFUSED, TAKEN = "lost", "double", "invented", "refused though sound", "taken though bad"
_MARK = re.compile(r"c(\d+)-(\d+)")
SOURCES = tuple(dict.fromkeys(form.source for form in FORMS))
_BROKEN_OFF = ("Input data was truncated", "this Idempotency-Key was used for another request before")
_QUERIES = resources.files("catchment.torture")


class Found(NamedTuple):
    """A row of an answer: a mark, as what it was found, and how many times."""

    mark: str
    source: str
    kind: str
    copies: int


class Asked(Protocol):
    """What answers SQL."""

    def sql(self, query: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """The rows of an answer, each by its columns."""
        ...


@dataclass
class Tally:
    """The figures of one source."""

    sent: int = 0
    acknowledged: int = 0
    found: int = 0
    lost: int = 0
    double: int = 0
    invented: int = 0
    received: int = 0
    stored: int = 0
    duplicate: int = 0
    rejected: int = 0
    difference: int = 0


@dataclass
class Verdict:
    """The figures by source, and the first offences of each kind. `more` are other things that must not be."""

    tallies: dict[str, Tally] = field(default_factory=lambda: {source: Tally() for source in SOURCES})
    offences: Counter[str] = field(default_factory=Counter)
    first: dict[str, list[str]] = field(default_factory=dict)
    bad_sent: int = 0
    bad_refused: int = 0
    bad_kept: int = 0
    broken_off: int = 0
    broken_off_kept: int = 0
    unbalanced: list[dict[str, Any]] = field(default_factory=list)
    more: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Nothing lost, nothing double, nothing invented, and the books balance."""
        return not (self.offences or self.unbalanced or self.more)

    def offend(self, what: str, name: str, count: int = 1) -> None:
        """One more that must not be."""
        self.offences[what] += count
        told = self.first.setdefault(what, [])
        if len(told) < TOLD_MAX:
            told.append(name)

    def total(self) -> Tally:
        """The figures of all sources."""
        columns = zip(*(vars(tally).values() for tally in self.tallies.values()), strict=True)
        return Tally(*map(sum, columns))


def judge(verdict: Verdict, account: Account, rows: Iterable[Found]) -> None:
    """Adds one client: `rows` are all that was found with a mark of it."""
    found: set[int] = set()
    for row in rows:
        number = _number(row.mark, account)
        form, state = account[number] if number is not None else (0, State.UNSENT)
        known = state != State.UNSENT and (row.source, row.kind) == FORMS[form][1:3]
        tally = verdict.tallies.get(row.source) or verdict.tallies[SOURCES[0]]
        if number is None or not known:
            tally.invented += row.copies
            verdict.offend(INVENTED, f"{row.mark} as {row.source} {row.kind}", row.copies)
            continue
        tally.found += 1
        if row.copies > 1 or number in found:
            tally.double += 1
            verdict.offend(DOUBLE, row.mark)
        found.add(number)
    for number in range(len(account)):
        form, state = account[number]
        tally = verdict.tallies[FORMS[form].source]
        tally.sent += state >= State.SENT
        if state == State.ACKNOWLEDGED:
            tally.acknowledged += 1
            if number not in found:
                tally.lost += 1
                verdict.offend(LOSS, mark(account.client, number))
    _judge_calls(verdict, account)


def judge_strangers(verdict: Verdict, rows: Iterable[Found], clients: int) -> None:
    """What was found without a mark of any client."""
    for row in rows:
        found = _MARK.fullmatch(row.mark)
        if found is None or int(found[1]) >= clients:
            verdict.offend(INVENTED, f"{row.mark!r} as {row.source} {row.kind}", row.copies)


def judge_books(verdict: Verdict, rows: Sequence[Mapping[str, Any]]) -> None:
    """Adds the ledger, a row for each minute, application and source."""
    for row in rows:
        tally = verdict.tallies.get(row["source"]) or verdict.tallies[SOURCES[0]]
        for name in ("received", "stored", "duplicate", "rejected"):
            setattr(tally, name, getattr(tally, name) + row[name])
        tally.difference += abs(row["difference"])
        if row["difference"]:
            verdict.unbalanced.append(dict(row))


def judge_tested(verdict: Verdict) -> None:
    """Once all clients were added: of each source something must have been acknowledged."""
    verdict.more += [
        f"{source}: nothing was acknowledged, so nothing of it was tested; let it run longer, or at a higher --rate"
        for source, tally in verdict.tallies.items()
        if not tally.acknowledged
    ]


def judge_rejections(verdict: Verdict, names: Iterable[str], accounts: Sequence[Account]) -> None:
    """Adds the marks of kept rejections; one that no client sent is invented, and so is one of a sound call."""
    sent = {account.client: account.bad_sent for account in accounts}
    for name in names:
        if name.endswith(_BROKEN_OFF):
            verdict.broken_off_kept += 1
            if verdict.broken_off_kept > verdict.broken_off:
                verdict.offend(INVENTED, f"the rejection {name!r}")
            continue
        found = _MARK.fullmatch(name.removeprefix("bad-"))
        if found and name.startswith("bad-") and 1 <= int(found[2]) <= sent.get(int(found[1]), 0):
            verdict.bad_kept += 1
        else:
            verdict.offend(INVENTED, f"the rejection {name!r}")


def look(server: Asked, accounts: Sequence[Account]) -> Verdict:
    """Asks a server that has loaded all that its log holds. Raises `httpx.HTTPError`."""
    verdict = Verdict()
    events, profiles = _text("events"), _text("profiles")
    for account in accounts:
        of_client = {"prefix": mark(account.client, 0)[:-1]}
        rows = server.sql(events, of_client) + server.sql(profiles, of_client)
        judge(verdict, account, (Found(**row) for row in rows))
    strangers = server.sql(_text("strangers"), {"clients": len(accounts)})
    judge_strangers(verdict, (Found(**row) for row in strangers), len(accounts))
    judge_books(verdict, server.sql("SELECT * FROM ledger ORDER BY minute, source"))
    judge_rejections(verdict, [row["mark"] for row in server.sql(_text("rejections"))], accounts)
    judge_tested(verdict)
    return verdict


def _judge_calls(verdict: Verdict, account: Account) -> None:
    verdict.broken_off += account.broken_off
    verdict.bad_sent += account.bad_sent
    verdict.bad_refused += account.bad_refused
    for name in account.bad_taken:
        verdict.offend(TAKEN, name)
    for name in account.refusals:
        verdict.offend(REFUSED, name)
    verdict.offences += Counter({REFUSED: account.refused - len(account.refusals)})


def _number(name: str, account: Account) -> int | None:
    """Which event of this client that is; None if it is none."""
    found = _MARK.fullmatch(name)
    number = int(found[2]) if found and int(found[1]) == account.client else len(account)
    return number if number < len(account) else None


def _text(name: str) -> str:
    return (_QUERIES / f"{name}.sql").read_text("utf-8")
