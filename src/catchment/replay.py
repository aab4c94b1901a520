"""Decodes refused calls again, after a change of the settings or of their bodies, and appends what comes of them.

A refused call is decoded as if it had been accepted when it came: with today's settings, but with the time of its
arrival. So an event that has no time of its own gets that of the refused call, and whether it is late is judged by it.
Only `received_us` of events is new, for that is when they arrived in the log; a profile update keeps the refused call's
place in the order of updates, or it would take back those that came since.

**Never twice.** Ids that the edge would have made up are derived from the rejection's id and the number of the record.
So whatever is decoded from one rejection, by anybody, at any time, has the same ids, and the store shows it once.

**A crash at any moment** leaves all of a replay or nothing of it. The records and the mark that says so are one append,
and an append is in the log whole or not at all (docs/log.md). Killed before: nothing happened, the rejection is not
marked, and the next replay does all of it. Killed behind it, before anybody was told: the mark is in the log with the
records. Two at the same time, or one before the mark of the other was loaded: both append the same ids. The first
arrival counts and the other one does not show.

In the ledger a replay is received and stored like any call, beside the refused one, which stays refused.

What a sender's key was is not kept. The call is authenticated with a key of the same application, so what depends on
the very key is not known any more: of a Batch event, `platform_key_kind`.
"""

import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import NAMESPACE_URL, UUID, uuid5

import jq
import msgspec

from catchment.books import Books
from catchment.dialects.dialect import Arrival, Call, Dialect, Route
from catchment.errors import Refused
from catchment.log.log import LogWriter
from catchment.pseudonym import PREFIX as HASH_PREFIX
from catchment.record import EventRecord, ProfileRecord, Record, ReplayRecord, encode_lines
from catchment.settings import App, BatchApp, MoesifApp, MolocoApp, Settings

ROUTE_CHARS_MAX = 256  # what the edge keeps of a path; one that is as long may have been cut
_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ANY = msgspec.json.Decoder(msgspec.Raw)
_NO_BODY = {
    413: "its body was over the limit and was not kept; let the sender send it again",
    429: "it was refused before its body was read, for there were too many; let the sender send it again",
    503: "it was refused before its body was read; let the sender send it again",
}

Fill = Callable[[Sequence[Record]], None]
OpenLog = Callable[[AbstractEventLoop], LogWriter]


class BadFix(Exception):
    """The expression cannot be read; the text says where."""


class CannotReplay(Exception):
    """Why this rejection can never be replayed, whatever is changed."""


class Outcome(NamedTuple):
    """What comes of a rejection: its `records`, or why there are none. `kind` is `accepted`, `refused` (still; a
    further change may help) or `impossible`. `before` and `after` are the body without and with the fix."""

    rejection: Mapping[str, Any]
    kind: str
    records: Sequence[Record] = ()
    reason: str = ""
    path: str = ""
    before: str = ""
    after: str = ""


class Fix:
    """A jq expression that is done to a body and gives one new body. Numbers that it does not touch stay as they were
    written, which is why jq itself writes the answer: `1.0` is another type than `1` to some vendors."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        try:
            jq.compile(expression)
            self._program = jq.compile(f"({expression}\n) | tojson")
        except ValueError as error:
            raise BadFix(str(error)) from None

    def __call__(self, body: str) -> str:
        """The new body. Raises `ValueError` where the expression does not fit this one."""
        found: list[str] = self._program.input_text(body).all()
        if len(found) != 1:
            raise ValueError(f"it gives {len(found)} values, and a body is one")
        return found[0]


class Replay:
    """Of one set of settings. `dialects` must leave hashes as they are; `fill` is what the edge does to records."""

    def __init__(self, settings: Settings, dialects: Sequence[Dialect], fill: Fill, open_log: OpenLog) -> None:
        self._settings = settings
        self._dialects = {dialect.source: dialect for dialect in dialects}
        self._fill = fill
        self._open_log = open_log
        self._next_us = 0

    def rehearse(self, rejection: Mapping[str, Any], fix: Fix | None = None) -> Outcome:
        """What would come of a row of the view `rejections`. Nothing is appended."""
        before: str = rejection["payload"]
        try:
            dialect, call, route = self._call(rejection)
        except CannotReplay as error:
            return Outcome(rejection, "impossible", reason=str(error), before=before, after=before)
        after = before
        if fix is not None:
            try:
                after = fix(before)
            except ValueError as error:
                return Outcome(rejection, "refused", reason=f"the fix fails: {error}", before=before, after=before)
        try:
            records = self._decoded(rejection, dialect, call, route, after.encode(errors="surrogatepass"))
        except Refused as refused:
            return Outcome(rejection, "refused", (), refused.reason, refused.path, before, after)
        return Outcome(rejection, "accepted", records, before=before, after=after)

    async def append(self, outcomes: Sequence[Outcome], fix: Fix | None, loop: AbstractEventLoop) -> None:
        """Appends the records of accepted ones, each rejection's with its mark; done when all are durable.

        Raises `LogUnavailable`; what was appended until then is there, and marked.
        """
        log = self._open_log(loop)
        try:
            for outcome in outcomes:
                self._enter(outcome)
                await log.append(encode_lines([*outcome.records, self._mark(outcome, fix)]))
        finally:
            await log.close()

    def _enter(self, outcome: Outcome) -> None:
        """Into the books. Updates that are replayed twice are one and the same, so they count under one name."""
        if outcome.records:
            same = not isinstance(outcome.records[0], EventRecord)
            Books(outcome.rejection["rejection_id"] if same else None).enter(outcome.records)

    def _mark(self, outcome: Outcome, fix: Fix | None) -> ReplayRecord:
        return ReplayRecord(
            app=outcome.rejection["app"],
            source=outcome.rejection["source"],
            kind="replay",
            event_id=outcome.rejection["rejection_id"],
            received_us=self._numbers(1),
            payload="",
            records=len(outcome.records),
            fix=fix.expression if fix else "",
        )

    def _call(self, rejection: Mapping[str, Any]) -> tuple[Dialect, Call, Route]:
        """The call as it was, but with a key of ours. Raises `CannotReplay`."""
        dialect = self._dialects.get(rejection["source"])
        if rejection["code"] == "unloadable" or dialect is None:
            raise CannotReplay("it was accepted, and the store could not take the record: it is no call to decode")
        if not rejection["app"]:
            raise CannotReplay("it came without a valid key, and of such calls nothing is kept")
        if not rejection["method"]:
            raise CannotReplay("it stands for calls that were only counted, and of those nothing is kept")
        path: str = rejection["route"]
        if len(path) >= ROUTE_CHARS_MAX:
            raise CannotReplay("its path is too long to have been kept whole")
        route, parameters = _route_of(dialect, rejection["method"], path)
        if route is None or route.method == "GET" or route.open:
            raise CannotReplay(f"{rejection['method']} {path} takes no events")
        self._require_body(rejection)
        app = self._settings.apps.get(rejection["app"])
        if app is None:
            raise CannotReplay(f"the application {rejection['app']} is not in the settings any more")
        headers, parameters = _KEYS[dialect.source](app, parameters)
        if rejection["user_agent"]:
            headers["user-agent"] = rejection["user_agent"]
        return dialect, Call(rejection["method"], path, "", headers, rejection["ip"], parameters), route

    def _require_body(self, rejection: Mapping[str, Any]) -> None:
        """Raises `CannotReplay` where there is none, or not all of it. Of a body with credentials, not even the length
        is that of the one that was sent, so one that is JSON counts as whole."""
        body: str = rejection["payload"]
        if not body:
            raise CannotReplay(_NO_BODY.get(rejection["status"], "it had no body"))
        sent, kept = rejection["payload_bytes"], len(body.encode(errors="replace"))
        bytes_max = self._settings.limits.rejection_bytes_max
        cut = max(sent, kept) >= bytes_max or (sent > kept and HASH_PREFIX not in body)
        if cut and not _is_json(body):
            raise CannotReplay(
                f"only the first {kept} of {sent} bytes of its body were kept (`limits.rejection_bytes_max`)"
            )

    def _decoded(
        self, rejection: Mapping[str, Any], dialect: Dialect, call: Call, route: Route, body: bytes
    ) -> list[Record]:
        if len(body) > route.body_bytes_max:
            raise Refused(dialect.faults.too_large, f"body is larger than {route.body_bytes_max} bytes")
        received_at = datetime.fromisoformat(rejection["received_at"]).replace(tzinfo=UTC)
        received_us = (received_at - _EPOCH) // _MICROSECOND
        caller = dialect.authenticate(call)
        arrival = Arrival(received_at, received_us, _ids_of(rejection["rejection_id"]))
        records = dialect.decode(route.endpoint, call, caller, body, arrival).records
        self._fill(records)
        fresh_us = self._numbers(len(records))
        for index, record in enumerate(records):
            if not isinstance(record, ProfileRecord):
                record.received_us = fresh_us + index
            if isinstance(record, EventRecord):
                record.platform_key_kind = None
        if len(encode_lines(records)) > self._settings.log.unsynced_bytes_max:
            raise Refused(dialect.faults.too_large, "its records take more bytes than the log takes at a time")
        return records

    def _numbers(self, count: int) -> int:
        """The first of a run of arrival numbers, as an edge process gives them."""
        first = max(time.time_ns() // 1000, self._next_us)
        self._next_us = first + count
        return first


def _route_of(dialect: Dialect, method: str, path: str) -> tuple[Route | None, dict[str, str]]:
    for route in dialect.routes:
        found = route.pattern.match(path)
        if route.method == method and (found or path in route.literals):
            return route, found.groupdict() if found else {}
    return None, {}


def _ids_of(rejection_id: str) -> Callable[[], str]:
    """The ids of the records of one rejection, the same whenever it is decoded."""
    try:
        space = UUID(rejection_id)
    except ValueError:
        space = uuid5(NAMESPACE_URL, rejection_id)
    numbers = iter(range(1 << 62))
    return lambda: str(uuid5(space, str(next(numbers))))


def _is_json(body: str) -> bool:
    try:
        _ANY.decode(body.encode(errors="surrogatepass"))
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


Headers = dict[str, str]


def _moesif_key(app: App, parameters: Headers) -> tuple[Headers, Headers]:
    keys: MoesifApp = _section(app.moesif, "Moesif")
    return {"x-moesif-application-id": keys.application_ids[0]}, parameters


def _batch_key(app: App, parameters: Headers) -> tuple[Headers, Headers]:
    keys: BatchApp = _section(app.batch, "Batch")
    api_keys = [*keys.live, *keys.dev, *keys.sdk]
    if not api_keys:
        raise CannotReplay("the application has no Batch keys any more")
    return {"x-authorization": keys.rest_api_keys[0]}, parameters | {"api_key": api_keys[0]}


def _moloco_key(app: App, parameters: Headers) -> tuple[Headers, Headers]:
    """The second door has the platform in a header, which is not kept; of one platform, it is that."""
    keys: MolocoApp = _section(app.moloco, "Moloco")
    platform = parameters.get("platform") or (next(iter(keys.platforms)) if len(keys.platforms) == 1 else "")
    if not platform:
        raise CannotReplay("its platform was in a header, which is not kept, and the application has several")
    lasting = keys.platforms.get(platform, [])
    expiring = [key.key for key in keys.expiring_keys if key.platform == platform]
    if not (lasting or expiring):
        raise CannotReplay(f"the application has no keys of the platform {platform} any more")
    return {"x-api-key": [*lasting, *expiring][0], "x-platform-id": platform}, parameters


def _section(section: Any, vendor: str) -> Any:
    if section is None:
        raise CannotReplay(f"the application has no {vendor} keys any more")
    return section


_KEYS: dict[str, Callable[[App, Headers], tuple[Headers, Headers]]] = {
    "moesif": _moesif_key,
    "batch": _batch_key,
    "moloco": _moloco_key,
}
