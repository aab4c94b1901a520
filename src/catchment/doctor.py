"""What a sender should mend though it was accepted: the checks, and what they find in the traffic of the last minutes.

A check is a row of `CHECKS`; the queries `store/queries/doctor_*.sql` find them, several in one pass, and name them by
the same codes. Codes are stable: a build may look at them. Queries that read texts look at a sample where there is much
to read, so that a run stays bounded; the report says so, and shares hold for the whole.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from catchment.store import queries
from catchment.store.store import QueryError, Rows

SAMPLED_EVENTS_MAX = 500_000
SAMPLED_BYTES_MAX = 256 * 1024 * 1024
QUERIES = ("doctor_refused", "doctor_events", "doctor_identity", "doctor_clocks", "doctor_texts", "doctor_types")
_SAMPLED = ("doctor_texts", "doctor_types")

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
Ask = Callable[[str, Mapping[str, Any]], Rows]


class Check(NamedTuple):
    """`rule` is where it is written: the vendor's own documentation and the place in it, or a page
    here. `advice` says what to change."""

    code: str
    severity: Severity
    title: str
    rule: str
    advice: str


CHECKS: tuple[Check, ...] = (
    Check(
        "refused",
        "error",
        "calls were refused",
        "docs/refused.md",
        "`catchment rejections` lists the reasons; `--show` with the id of the example marks the fault",
    ),
    Check(
        "placeholder_id",
        "error",
        "an id is a placeholder",
        "Batch SDK, blocked user ids; Moloco MCM documentation, User Event API, `user_id`",
        "leave the id out where it is not known: one such value makes one user, or one event, of many",
    ),
    Check(
        "time_in_seconds",
        "error",
        "a time is before 2000",
        "Moesif API reference, `request.time`; Moloco MCM documentation, User Event API, `timestamp`",
        "send milliseconds since 1970, not seconds",
    ),
    Check(
        "time_ahead",
        "warning",
        "a time was still to come when it arrived",
        "Batch documentation, Trigger Events API, `time`; Moloco MCM documentation, User Event API, `timestamp`",
        "set the sender's clock, and send UTC; the vendors refuse such events",
    ),
    Check(
        "outside_window",
        "warning",
        "a time is older than the vendor takes",
        "Batch documentation, Trigger Events API, `time`; Moesif API reference, age of events",
        "send sooner, or leave the time out: the vendor refuses such events, and here they are flagged `late`",
    ),
    Check(
        "clock_ahead",
        "warning",
        "a sender's clock is ahead",
        "Batch documentation, Trigger Events API, `time`",
        "synchronise the clock of the sender in the example",
    ),
    Check(
        "clock_behind",
        "warning",
        "a sender's clock is behind, or a queue holds events back",
        "Batch documentation, Trigger Events API, `time`",
        "synchronise the clock of the sender in the example, or flush its queue sooner",
    ),
    Check(
        "no_transaction_id",
        "warning",
        "events have no transaction_id",
        "Moesif API reference, `transaction_id`",
        "send a UUID as `transaction_id`; without it, a call that is sent again counts twice",
    ),
    Check(
        "no_id",
        "warning",
        "events have no id",
        "Moloco MCM documentation, User Event API, `id`",
        "send a unique `id`; without it, a call that is sent again counts twice",
    ),
    Check(
        "card_number",
        "error",
        "a text looks like a card number",
        "docs/sql.md, Credentials",
        "take it out, or mask it, before it is sent",
    ),
    Check(
        "secret_value",
        "error",
        "a property or a captured body holds a password or a key",
        "docs/sql.md, Credentials",
        "mask it in the client; properties and bodies are stored as they are sent",
    ),
    Check(
        "secret_in_uri",
        "error",
        "a URI has a token or a password in its query",
        "docs/sql.md, Credentials",
        "send it in a header: those are hashed; a URI is stored as it is sent",
    ),
    Check(
        "token_in_text",
        "error",
        "a text looks like a JSON Web Token",
        "docs/sql.md, Credentials",
        "take it out; as `session_token`, or in a credential header, it would be hashed",
    ),
    Check(
        "secret_key",
        "error",
        "a text looks like a key of a cloud or a service",
        "docs/sql.md, Credentials",
        "take it out, and let its owner replace the key",
    ),
    Check(
        "batch_name_long",
        "warning",
        "a Batch event name has more than 30 characters after `ue.`",
        "Batch SDK documentation, custom events",
        "shorten it; it passes by `limits.batch_event_name_chars_max` only",
    ),
    Check(
        "batch_user_id_long",
        "warning",
        "a Batch custom user id has more than 1024 characters",
        "Batch SDK documentation, custom user id",
        "shorten it; it passes by `limits.batch_user_id_chars_max` only",
    ),
    Check(
        "moloco_id_long",
        "warning",
        "a Moloco id has more than 128 characters",
        "Moloco MCM documentation, User Event API, ids and `device`",
        "shorten or hash it; it passes by `limits.moloco_id_chars_max` only",
    ),
    Check(
        "moloco_page_id_long",
        "info",
        "a Moloco page id has more than 128 characters",
        "Moloco MCM documentation, data specification",
        "name the page by a short id; the data specification says 128",
    ),
    Check(
        "purchase_without_revenue",
        "warning",
        "a PURCHASE has no revenue",
        "Moloco MCM documentation, User Event API, `revenue`",
        "send `revenue`, the sum of price times quantity",
    ),
    Check(
        "purchase_without_price",
        "warning",
        "an item of a PURCHASE has no price or no quantity",
        "Moloco MCM documentation, User Event API, `items`",
        "send `price` and `quantity` with each item, or revenue by item cannot be told",
    ),
    Check(
        "truncated",
        "warning",
        "an API call was too large, and its bodies were cut",
        "Moesif API reference, size of an event",
        "capture less of the bodies, or mask large members in the client",
    ),
    Check(
        "uri_without_host",
        "warning",
        "an API call has no full URI",
        "Moesif API reference, `request.uri`",
        "send scheme and host with `request.uri`",
    ),
    Check(
        "type_flips",
        "warning",
        "a property has one type in some events and another in others",
        "docs/sql.md, JSON columns",
        "send one type: a query that casts to a number reads texts as nothing",
    ),
    Check(
        "nobody",
        "info",
        "events name no user, visitor, session or company",
        "docs/decisions/0006-who-did-it.md",
        "send `user_id`, or at least an id of the visitor or a session token",
    ),
    Check(
        "never_identified",
        "info",
        "visitors were never identified",
        "docs/decisions/0006-who-did-it.md",
        "send a user update with both ids when a visitor logs in",
    ),
)
_CHECKS = {check.code: check for check in CHECKS}


class Finding(NamedTuple):
    """How often a check failed for one application and source: `found` of `of` events, or calls, that were looked at.
    `event_id`, `name` and `detail` are of one example; `event_id` is a rejection's id for `refused`."""

    check: Check
    app: str
    source: str
    found: int
    of: int
    event_id: str
    name: str
    detail: str

    @property
    def share(self) -> float:
        return min(1.0, self.found / self.of) if self.of else 1.0


class Report(NamedTuple):
    """`every` is 1 where all texts were read, n where one of n events was. `skipped` are queries that could not be
    answered, with the reason."""

    events: int
    refused: int
    every: int
    findings: list[Finding]
    skipped: dict[str, str]

    def failed(self) -> bool:
        """Whether a strict caller is to stop here."""
        serious = any(finding.check.severity != "info" for finding in self.findings)
        return serious or bool(self.skipped) or not (self.events or self.refused)


def examine(ask: Ask, *, minutes: int, app: str, source: str) -> Report:
    """Asks all questions; the gravest findings come first."""
    filters = {"minutes": minutes, "app": app, "source": source}
    traffic = ask(queries.text("doctor_traffic"), filters).rows
    events, size = (sum(row[name] for row in traffic) for name in ("events", "payload_bytes"))
    every = max(1, -(-events // SAMPLED_EVENTS_MAX), -(-size // SAMPLED_BYTES_MAX))
    totals = {(row["app"], row["source"]): row for row in traffic}
    findings: list[Finding] = []
    skipped: dict[str, str] = {}
    for name in QUERIES if traffic else ():
        looked_at = every if name in _SAMPLED else 1
        try:
            rows = ask(queries.text(name), filters | ({"every": every} if name in _SAMPLED else {})).rows
        except QueryError as error:
            skipped[name] = str(error)
            continue
        findings += [_finding(row, totals.get((row["app"], row["source"]), {}), looked_at) for row in rows]
    order = {check.code: number for number, check in enumerate(CHECKS)}
    findings.sort(
        key=lambda finding: (SEVERITIES.index(finding.check.severity), order[finding.check.code], finding[1:])
    )
    return Report(events, sum(row["refused"] for row in traffic), every, findings, skipped)


def _finding(row: Mapping[str, Any], total: Mapping[str, Any], looked_at: int) -> Finding:
    check = _CHECKS[row["code"]]
    of = total.get("events", 0) + total.get("refused", 0) if check.code == "refused" else total.get("events", 0)
    # A sample has about its share of the events, and never fewer than were found in it.
    of = max(of // looked_at, row["found"])
    return Finding(check, row["app"], row["source"], row["found"], of, row["event_id"], row["name"], row["detail"])
