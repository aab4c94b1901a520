"""Batch.com's Trigger Events API 1.0: events of one user, or of many (contracts/batch.md).

Bodies are JSON whatever their Content-Type says. A request is accepted whole or refused for one fault. The faults are
looked for in stages (contract 3): bad JSON anywhere, then object by object a required member that is missing, then the
form of the members in the order in which they were sent. Of two members with one name the last wins (contract 6.24).

An event is read fast, by msgspec into a struct, which stops at anything unusual. Only then is it read slowly, member by
member: that finds the fault which comes first in the document, or none where something only looked wrong.
"""

import hmac
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, Raw, Struct

from catchment.dialects.dialect import (
    Answer,
    Arrival,
    Call,
    Caller,
    Decoded,
    Faults,
    Route,
    json_fault,
    one_line,
    require_utf8,
    user_agent_of,
)
from catchment.errors import Fault, Refused
from catchment.record import EMPTY_OBJECT, EventRecord, Record
from catchment.settings import App, BatchApp, Limits

SOURCE = "batch"
JSON = [("content-type", "application/json")]

MISSING = Fault(400, 30, "MISSING_PARAMETER")
MALFORMED = Fault(400, 31, "MALFORMED_PARAMETER")
MALFORMED_JSON = Fault(400, 32, "MALFORMED_JSON_BODY")
UNAUTHORIZED = Fault(401, 10, "AUTHENTICATION_INVALID")
NOT_FOUND = Fault(404, 20, "ROUTE_NOT_FOUND")
FAULTS = Faults(
    not_found=NOT_FOUND,
    wrong_method=NOT_FOUND,  # the vendor's table has neither 405 nor 413 (contract 3, 6.49)
    too_large=MALFORMED,
    malformed=MALFORMED_JSON,
    unavailable=Fault(503, 2, "MAINTENANCE_ERROR"),
    defect=Fault(500, 1, "SERVER_ERROR"),
)

# Contract 2.4; characters are UTF-16 code units. What may differ from one server to the next is in `Limits`.
USER_ID_CHARS_MAX, LABEL_CHARS_MAX = 1024, 200
ATTRIBUTES_MAX = 15
STRING_CHARS_MAX = 64
TAGS_MAX, TAG_CHARS_MAX = 10, 64
KEY_CHARS_SHOWN = 64

FIRST_YEAR, LAST_YEAR = 1970, 2199
LAST_SECOND = int(datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC).timestamp()) - 1
Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Seconds = Annotated[int, Meta(ge=0, le=LAST_SECOND)]
Elements = Annotated[list[Raw], Meta(min_length=1)]
Attributes = Annotated[dict[str, Raw], Meta(max_length=ATTRIBUTES_MAX)]
Tags = Annotated[list[str], Meta(max_length=TAGS_MAX)]
NULL = Raw(b"null")

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{3})?Z?")
_ATTRIBUTE = re.compile(r"(?P<date>date\()?(?P<name>[a-z0-9_]{1,30})(?(date)\))")
_LINE_BREAK = re.compile("[\n\v\f\r\x85\u2028\u2029]")


class Event(Struct, gc=False):
    """Contract 2.2."""

    name: str
    time: str | None = None
    label: str | None = None
    attributes: Attributes | None = None
    tags: Tags | None = None


class _Grant(NamedTuple):
    """What an API key of the path leads to. `kind` is "live", "dev" or "sdk"."""

    app: BatchApp
    kind: str
    rest_api_keys: tuple[bytes, ...]


class _Context(NamedTuple):
    """What the events of one call share."""

    app: str
    rules: BatchApp
    key_kind: str
    peer: str
    user_agent: str | None
    token: str
    arrival: Arrival
    name_pattern: re.Pattern[str]


class _Member(NamedTuple):
    """A member of an object: its type, and its further rules, whose `Refused` has the path below the member."""

    decoder: msgspec.json.Decoder[Any]
    check: Callable[[Any, _Context], Any] | None = None
    required: bool = False


_ANY: msgspec.json.Decoder[Raw] = msgspec.json.Decoder(Raw)
_STRING: msgspec.json.Decoder[str] = msgspec.json.Decoder(str)
_ELEMENTS: msgspec.json.Decoder[list[Raw]] = msgspec.json.Decoder(Elements)
_OBJECT: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])
_ATTRIBUTES: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(Attributes)
_TAGS: msgspec.json.Decoder[list[str]] = msgspec.json.Decoder(Tags)
_SCALAR: msgspec.json.Decoder[Any] = msgspec.json.Decoder(str | bool | Integer | float)
_DATE: msgspec.json.Decoder[Any] = msgspec.json.Decoder(str | Seconds)
_EVENT_DECODER = msgspec.json.Decoder(Event)
_ENCODER = msgspec.json.Encoder()

User = tuple[str, str, list[Raw]]  # path in the body, custom user id, events


class Batch:
    """The dialect. A path's API key leads to the application; `X-Authorization` must be a REST key of the same one."""

    source = SOURCE
    owns = re.compile(r"^/[0-9]+\.[0-9]+/")
    key_header = "x-authorization"
    faults = FAULTS
    conceal: Callable[[bytes], bytes] = staticmethod(bytes)  # no credentials in these bodies
    preflight: Answer | None = None  # the key is a secret of servers (contract 1)

    def __init__(self, apps: Mapping[str, App], limits: Limits) -> None:
        users, bytes_max = r"^/1\.0/(?P<api_key>[^/]+)/events/users", limits.batch_body_bytes_max
        # A path is decoded before it is matched, so a user id may hold any character (contract 6.4).
        self.routes: tuple[Route, ...] = (
            Route("POST", "single", re.compile(users + r"/(?P<user_id>.+)\Z", re.DOTALL), bytes_max),
            Route("POST", "bulk", re.compile(users + r"/?\Z"), bytes_max),
        )
        self._callers = dict(pair for name, app in apps.items() if app.batch for pair in _keys(name, app.batch))
        self._events_max = limits.batch_events_max
        self._name_pattern = re.compile(rf"ue\.[A-Za-z0-9_]{{1,{limits.batch_event_name_chars_max}}}")

    def authenticate(self, call: Call) -> Caller:
        """By the API key in the path and the REST API key in the header, which must agree (contract 6.17 to 6.20)."""
        given = call.headers.get(self.key_header)
        if not given:
            raise Refused(UNAUTHORIZED, "X-Authorization is missing; `catchment keys` prints the right one")
        caller = self._callers.get(call.parameters["api_key"])
        if caller is None:
            raise Refused(UNAUTHORIZED, "the API key in the path is not a Live, Dev or SDK key of this server")
        secret = given.encode(errors="surrogatepass")
        if not any(hmac.compare_digest(secret, key) for key in caller.grant.rest_api_keys):
            raise Refused(UNAUTHORIZED, "X-Authorization is not a REST API key of the application in the path")
        return caller

    def decode(self, endpoint: str, call: Call, caller: Caller, body: bytes, arrival: Arrival) -> Decoded:
        """`endpoint` is `single` or `bulk`. Every answer has a token of its own (contract 6.3)."""
        grant: _Grant = caller.grant
        user_agent, token = user_agent_of(call), arrival.new_id()
        context = _Context(caller.app, grant.app, grant.kind, call.peer, user_agent, token, arrival, self._name_pattern)
        try:
            require_utf8(body)
            _ANY.decode(body)  # all of it, before `one_line` can hide a line break inside a string
            line = one_line(body)
            users = _single(line, call, context) if endpoint == "single" else _bulk(line, context)
            records = self._records(users, context)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Refused(MALFORMED_JSON, json_fault(error).reason, path="$") from None
        except UnicodeEncodeError:
            raise Refused(MALFORMED, "a custom user id must be valid UTF-8") from None
        return Decoded(records, Answer(201, JSON, b'{"token":"%b"}' % token.encode()))

    def refuse(self, refused: Refused) -> Answer:
        """`{"code", "type", "message"}`; the message names the place of the fault and the rule (contract 3)."""
        fault = refused.fault
        place = "body" if refused.path == "$" else refused.path.removeprefix("$").removeprefix(".")
        message = f"{place}: {refused.reason}" if place else refused.reason
        return Answer(fault.status, JSON, _ENCODER.encode({"code": fault.code, "type": fault.name, "message": message}))

    def _records(self, users: Iterator[User], context: _Context) -> list[Record]:
        """The events of all users in order; the limit is on their sum (contract 6.32)."""
        records: list[Record] = []
        for path, user_id, events in users:
            if len(records) + len(events) > self._events_max:
                reason = f"a request must not have more than {self._events_max} events over all users"
                raise Refused(MALFORMED, reason, path=f"{path}.events")
            for position, raw in enumerate(events):
                try:
                    record = _record(_EVENT_DECODER.decode(raw), raw, user_id, context, len(records))
                except (msgspec.ValidationError, Refused):
                    event = Event(**_members(_EVENT, raw, context, f"{path}.events[{position}]"))
                    record = _record(event, raw, user_id, context, len(records))
                records.append(record)
        return records


def _single(body: bytes, call: Call, context: _Context) -> Iterator[User]:
    events = _members(_SINGLE, body, context, "$")["events"]
    yield "$", _user_id(call.parameters["user_id"], context), events


def _bulk(body: bytes, context: _Context) -> Iterator[User]:
    try:
        items = _ELEMENTS.decode(body)
    except msgspec.ValidationError as error:
        raise Refused(MALFORMED, json_fault(error).reason, path="$") from None
    for position, raw in enumerate(items):
        path = f"$[{position}]"
        item = _members(_ITEM, raw, context, path)
        yield path, item["id"], item["events"]


def _record(event: Event, raw: Raw, user_id: str, context: _Context, index: int) -> EventRecord:
    arrival = context.arrival
    name = _name(event.name, context)
    time, late = (arrival.received_at, False) if event.time is None else _time(event.time, context)
    label = None if event.label is None else _label(event.label, context)
    properties, dates = _attributes(event.attributes, context) if event.attributes else (EMPTY_OBJECT, None)
    tags = _tags(event.tags, context) if event.tags else None
    record = EventRecord(  # in the order of the fields, which is three times as fast
        app=context.app,
        source=SOURCE,
        kind="event",
        event_id=arrival.new_id(),
        received_us=arrival.received_us + index,
        payload=raw,
        ip=context.peer,
        user_agent=context.user_agent,
        name=name,
        time=time,
        late=late,
        user_id=user_id,
        properties=properties,
        tags=tags,
        label=label,
    )
    record.request_token = context.token  # far from the others in that order, so that setting them is faster again
    record.platform_key_kind = context.key_kind
    record.dates = dates
    return record


def _members(form: dict[str, _Member], raw: bytes | Raw, context: _Context, path: str) -> dict[str, Any]:
    """The members that the form knows, in the order sent, or `Refused` for the first fault; `path` is the object's.

    `null` is the same as absent (contract 6.16, 6.29); members that the form does not know are ignored (6.13).
    """
    try:
        sent = _OBJECT.decode(raw)
    except msgspec.ValidationError as error:
        raise Refused(MALFORMED, json_fault(error).reason, path=path) from None
    values: dict[str, Any] = {name: value for name, value in sent.items() if name in form and value != NULL}
    for name, member in form.items():
        if member.required and name not in values:
            raise Refused(MISSING, "is required", path=f"{path}.{name}")
    for name, value in values.items():
        decoder, check, _ = form[name]
        try:
            values[name] = decoder.decode(value)
            if check:
                check(values[name], context)
        except msgspec.ValidationError as error:
            fault = json_fault(error)
            raise Refused(MALFORMED, fault.reason, path=f"{path}.{name}{fault.path.removeprefix('$')}") from None
        except Refused as refused:
            refused.path = f"{path}.{name}{refused.path}"
            raise
    return values


def _user_id(user_id: str, _: _Context) -> str:
    """Contract 2.1; kept as sent, case and spaces included."""
    if not user_id or user_id.isspace() or _chars(user_id) > USER_ID_CHARS_MAX:
        raise Refused(MALFORMED, f"a custom user id must have 1 to {USER_ID_CHARS_MAX} characters, not only spaces")
    return user_id


def _name(name: str, context: _Context) -> str:
    """Stored in lower case, prefix included (contract 2.2)."""
    if not context.name_pattern.fullmatch(name):
        raise Refused(MALFORMED, f"must match {context.name_pattern.pattern}")
    return name.lower()


def _time(text: str, context: _Context) -> tuple[datetime, bool]:
    """The time, and whether it is late (contract 2.3). Both edges of the window belong to it.

    An application that flags takes a time in the future too; such an event is not late, and its time shows it.
    """
    time = _moment(text)
    rules = context.rules
    age_seconds = (context.arrival.received_at - time).total_seconds()
    late = age_seconds > rules.time_window_hours * 3600
    if rules.time_window == "reject":
        if late:
            raise Refused(MALFORMED, f"must be in the last {rules.time_window_hours:g} hours")
        if -age_seconds > rules.time_ahead_seconds:
            raise Refused(MALFORMED, "must not be in the future")
    return time, late


def _label(label: str, _: _Context) -> str:
    if not label or label.isspace() or _LINE_BREAK.search(label) or _chars(label) > LABEL_CHARS_MAX:
        raise Refused(MALFORMED, f"must have 1 to {LABEL_CHARS_MAX} characters, not only spaces, and no line break")
    return label


def _attributes(attributes: dict[str, Raw], _: _Context) -> tuple[Raw, dict[str, datetime] | None]:
    """The attributes as a JSON object, `date(x)` renamed to `x` and each value as sent; and the dates as times."""
    properties: dict[str, Raw] = {}
    dates: dict[str, datetime] = {}
    for key, raw in attributes.items():
        try:
            name, is_date = _attribute_name(key)
            if name in properties:
                raise Refused(MALFORMED, f"attribute `{name}` is given twice, plain and as a date")
            if is_date:
                value = _DATE.decode(raw)
                dates[name] = _moment(value) if isinstance(value, str) else datetime.fromtimestamp(value, UTC)
            elif isinstance(value := _SCALAR.decode(raw), str) and _chars(value) > STRING_CHARS_MAX:
                raise Refused(MALFORMED, f"must have at most {STRING_CHARS_MAX} characters")
        except msgspec.ValidationError as error:
            raise Refused(MALFORMED, json_fault(error).reason, path=_place(key)) from None
        except Refused as refused:
            refused.path = _place(key)
            raise
        properties[name] = raw
    return Raw(_ENCODER.encode(properties)), dates or None


@lru_cache(4096)
def _attribute_name(key: str) -> tuple[str, bool]:
    """The name inside the key, and whether the key says `date(...)`. What it refuses is not cached."""
    match = _ATTRIBUTE.fullmatch(key)
    if match is None:
        raise Refused(MALFORMED, "a name must be 1 to 30 characters of a-z, 0-9 and _, bare or inside `date(...)`")
    return match["name"], match["date"] is not None


@lru_cache(4096)
def _moment(text: str) -> datetime:
    """`YYYY-MM-ddTHH:mm:ss`, which is UTC; `.SSS` and `Z` may follow (contract 2.3)."""
    if not _TIME.fullmatch(text):
        raise Refused(MALFORMED, "must look like 2024-05-31T22:30:05, which is UTC, with no offset")
    try:
        time = datetime.fromisoformat(text if text[-1] == "Z" else text + "Z")
    except ValueError:
        raise Refused(MALFORMED, "is not a time that exists") from None
    if not FIRST_YEAR <= time.year <= LAST_YEAR:
        raise Refused(MALFORMED, f"the year must be from {FIRST_YEAR} to {LAST_YEAR}")
    return time


def _tags(tags: list[str], _: _Context) -> list[str]:
    """A set: stored in lower case, each once, in the order sent; counted before that (contract 2.2)."""
    unique: dict[str, None] = {}
    for position, tag in enumerate(tags):
        if not tag or tag.isspace() or _chars(tag) > TAG_CHARS_MAX:
            raise Refused(
                MALFORMED, f"must have 1 to {TAG_CHARS_MAX} characters, not only spaces", path=f"[{position}]"
            )
        unique[tag.lower()] = None
    return list(unique)


def _chars(text: str) -> int:
    """Length in UTF-16 code units, as the vendor counts: an emoji is 2 (contract 2.2)."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


def _place(key: str) -> str:
    """The end of an attribute's JSON path; its key may be anything, so it is shown quoted and cut."""
    shown = key[:KEY_CHARS_SHOWN]
    return f".{shown}" if shown.isidentifier() else f"[{shown!r}]"


def _keys(name: str, app: BatchApp) -> Iterator[tuple[str, Caller]]:
    """The API keys of an application; a key that is listed as several kinds counts as the last of these."""
    rest_api_keys = tuple(key.encode(errors="surrogatepass") for key in app.rest_api_keys)
    for kind, keys in (("sdk", app.sdk), ("dev", app.dev), ("live", app.live)):
        for key in keys:
            yield key, Caller(name, _Grant(app, kind, rest_api_keys))


_SINGLE = {"events": _Member(_ELEMENTS, required=True)}
_ITEM = {"id": _Member(_STRING, _user_id, required=True), **_SINGLE}
_EVENT = {
    "name": _Member(_STRING, _name, required=True),
    "time": _Member(_STRING, _time),
    "label": _Member(_STRING, _label),
    "attributes": _Member(_ATTRIBUTES, _attributes),
    "tags": _Member(_TAGS, _tags),
}
