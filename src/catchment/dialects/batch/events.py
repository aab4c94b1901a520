"""The rules of an event (contracts/batch.md 2.2 to 2.4), and its record.

An event is read fast, by msgspec into a struct, which stops at anything unusual. Only then is it read slowly, member by
member: that finds the fault which comes first in the document, or none where something only looked wrong.
"""

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from catchment.dialects.batch.faults import MALFORMED
from catchment.dialects.batch.members import Context, Member, members_of
from catchment.dialects.dialect import json_fault
from catchment.errors import Refused
from catchment.record import EMPTY_OBJECT, EventRecord

SOURCE = "batch"

# Contract 2.4; characters are UTF-16 code units. What may differ from one server to the next is in `Limits`.
LABEL_CHARS_MAX = 200
ATTRIBUTES_MAX = 15
STRING_CHARS_MAX = 64
TAGS_MAX, TAG_CHARS_MAX = 10, 64
KEY_CHARS_SHOWN = 64

FIRST_YEAR, LAST_YEAR = 1970, 2199
LAST_SECOND = int(datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC).timestamp()) - 1
_Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Seconds = Annotated[int, Meta(ge=0, le=LAST_SECOND)]
_Elements = Annotated[list[Raw], Meta(min_length=1)]
_Attributes = Annotated[dict[str, Raw], Meta(max_length=ATTRIBUTES_MAX)]
_Tags = Annotated[list[str], Meta(max_length=TAGS_MAX)]

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{3})?Z?")
_ATTRIBUTE = re.compile(r"(?P<date>date\()?(?P<name>[a-z0-9_]{1,30})(?(date)\))")
_LINE_BREAK = re.compile("[\n\v\f\r\x85\u2028\u2029]")


class _Event(Struct, gc=False):
    """Contract 2.2."""

    name: str
    time: str | None = None
    label: str | None = None
    attributes: _Attributes | None = None
    tags: _Tags | None = None


_STRING: msgspec.json.Decoder[str] = msgspec.json.Decoder(str)
ELEMENTS: msgspec.json.Decoder[list[Raw]] = msgspec.json.Decoder(_Elements)  # of a body, or of a user
_ATTRIBUTES: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(_Attributes)
_TAGS: msgspec.json.Decoder[list[str]] = msgspec.json.Decoder(_Tags)
_SCALAR: msgspec.json.Decoder[Any] = msgspec.json.Decoder(str | bool | _Integer | float)
_DATE: msgspec.json.Decoder[Any] = msgspec.json.Decoder(str | _Seconds)
_EVENT: msgspec.json.Decoder[_Event] = msgspec.json.Decoder(_Event)
_ENCODER = msgspec.json.Encoder()


def event_record(raw: Raw, user_id: str, context: Context, index: int, path: str, position: int) -> EventRecord:
    """`raw` is the event as sent, `index` its number in the request, `position` that among its user's, which are in the
    body at `path`."""
    try:
        return _record(_EVENT.decode(raw), raw, user_id, context, index)
    except (msgspec.ValidationError, Refused):
        event = _Event(**members_of(_EVENT_MEMBERS, raw, context, f"{path}.events[{position}]"))
        return _record(event, raw, user_id, context, index)


def _record(event: _Event, raw: Raw, user_id: str, context: Context, index: int) -> EventRecord:
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


def checked_user_id(user_id: str, context: Context) -> str:
    """Contract 2.1; kept as sent, case and spaces included."""
    chars_max = context.user_id_chars_max
    if not user_id or user_id.isspace() or _chars(user_id) > chars_max:
        raise Refused(MALFORMED, f"a custom user id must have 1 to {chars_max} characters, not only spaces")
    return user_id


def _name(name: str, context: Context) -> str:
    """Stored in lower case, prefix included (contract 2.2)."""
    if not context.name_pattern.fullmatch(name):
        raise Refused(MALFORMED, f"must match {context.name_pattern.pattern}")
    return name.lower()


def _time(text: str, context: Context) -> tuple[datetime, bool]:
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


def _label(label: str, _: Context) -> str:
    if not label or label.isspace() or _LINE_BREAK.search(label) or _chars(label) > LABEL_CHARS_MAX:
        raise Refused(MALFORMED, f"must have 1 to {LABEL_CHARS_MAX} characters, not only spaces, and no line break")
    return label


def _attributes(attributes: dict[str, Raw], _: Context) -> tuple[Raw, dict[str, datetime] | None]:
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


def _tags(tags: list[str], _: Context) -> list[str]:
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


SINGLE = {"events": Member(ELEMENTS, required=True)}
ITEM = {"id": Member(_STRING, checked_user_id, required=True), **SINGLE}
_EVENT_MEMBERS = {
    "name": Member(_STRING, _name, required=True),
    "time": Member(_STRING, _time),
    "label": Member(_STRING, _label),
    "attributes": Member(_ATTRIBUTES, _attributes),
    "tags": Member(_TAGS, _tags),
}
