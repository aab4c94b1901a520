"""Moloco Commerce Media's User Event API (contracts/moloco.md): one event a call.

The vendor reads its JSON as protobuf does, so this dialect does too: every member has a snake_case and a camelCase
name, null and "" mean "not given", numbers may be decimal text, and unknown members are no fault. What a message holds
and what an event type needs are tables; a fault has its documented text if there is one, and a path in snake_case.

A body is parsed twice: by msgspec, which is strict about JSON and cuts out the raw members for `properties`, and by
`json` into tuples of (name, value) pairs, which alone show a member that was sent twice. So here an object is a tuple.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

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
from catchment.record import EMPTY_OBJECT, EventRecord, Item
from catchment.settings import App, Limits, MolocoApp

SOURCE = "moloco"
KEY_HEADER = "x-api-key"
PATH = re.compile(r"^/rmp/event/v1/platforms/(?P<platform>[^/]+)/userevents\Z")

INVALID = Fault(400, 3, "Bad Request")
UNAUTHENTICATED = Fault(401, 16, "Unauthorized")
DENIED = Fault(403, 7, "Forbidden")
NO_PLATFORM = Fault(404, 5, "Unknown Platform")
FAULTS = Faults(
    not_found=Fault(404, 5, "Not Found"),
    wrong_method=Fault(405, 12, "Method Not Allowed"),
    too_large=INVALID,
    malformed=INVALID,
    unavailable=Fault(503, 14, "Service Unavailable"),
    defect=Fault(500, 13, "Internal Server Error"),
)
UNROUTED = (FAULTS.not_found, FAULTS.wrong_method)  # answered with their names, as the gateway does (6.19, 6.20)
JSON_HEADERS = [("content-type", "application/json")]
ACCEPTED = Answer(200, JSON_HEADERS, b"{}")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
END_MS = int(datetime(2200, 1, 1, tzinfo=UTC).timestamp()) * 1000
INT32 = (-(2**31), 2**31 - 1)
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
ID_CHARS_MAX = 128
NUMBER_CHARS_MAX = SHOWN_CHARS_MAX = 64
BRACKETS: dict[type, str] = {tuple: "{", list: "["}

# The first name of an enum is its default, "not given"; a name's number is its place in the list (contract 2.4).
EVENT_TYPES = "UNKNOWN_EVENT_TYPE SEARCH ITEM_PAGE_VIEW ADD_TO_CART PURCHASE ADD_TO_WISHLIST HOME LAND PAGE_VIEW"
CHANNEL_TYPES = "UNKNOWN_CHANNEL_TYPE APP SITE DESKTOP_SITE MOBILE_SITE"
PERSONALIZATION_MODES = "UNKNOWN_PERSONALIZATION_MODE STANDARD METRIC_ONLY ID_LESS"
CURRENCIES = (
    "UNKNOWN_CURRENCY USD KRW JPY EUR GBP SEK INR THB IDR CNY CAD RUB BRL SGD HKD AUD PLN DKK VND MYR PHP TRY "
    "VES AED CHF"
)

NO_IDENTIFIER = "no available valid identifier to construct Moloco advertising ID"
NO_APP_OS = "device os must contain ios or android for the app channel type"
NO_ITEM_ID = "invalid item: either id or item_group_id must be set"
APP_SYSTEMS = ("ios", "android")
# What an event type cannot be without; `missing <member>` is the fault (contract 2.5, 6.34 to 6.37).
NEEDED = {"SEARCH": "search_query", "PAGE_VIEW": "page_id"} | dict.fromkeys(
    ("ITEM_PAGE_VIEW", "ADD_TO_CART", "ADD_TO_WISHLIST", "PURCHASE"), "items"
)
# Identifiers of bounded length (contract 6.39); page ids may be URLs (6.40).
BOUNDED = ("id", "user_id", "custom_id", "session_id", "device.persistent_id", "device.unique_device_id")
# Members that the record has columns for. Not so `device`, which has more members than columns, and `session_id`, which
# gives way to `custom_id`; nor `items` as soon as an item has more than its columns.
COLUMNS = frozenset(
    ("id", "event_type", "timestamp", "channel_type", "domain", "user_id", "items", "revenue", "search_query")
) | {"custom_id", "page_id", "referrer_page_id", "shipping_charge", "decision_track_id", "personalization_mode"}
ITEM_COLUMNS = frozenset(("id", "item_group_id", "price", "quantity", "seller_id"))
MONEYS = ("price", "price_seller", "revenue", "shipping_charge")

Message = dict[str, Any]  # an object's values by documented name; None for a member that is unset or unknown
Read = Callable[[Any, str], Any]  # makes a value of parsed JSON, given the member's name, or raises `Refused`


class Grant(NamedTuple):
    """What a key opens: a platform, under the rules of its application."""

    platform: str
    rules: MolocoApp


class Moloco:
    """The dialect."""

    source = SOURCE
    owns = re.compile(r"^/rmp/")
    key_header = KEY_HEADER
    faults = FAULTS
    conceal: Callable[[bytes], bytes] = staticmethod(bytes)  # no credentials in these bodies
    preflight: Answer | None = None  # the key is a secret, and no document speaks of browsers (contract 1)

    def __init__(self, apps: Mapping[str, App], limits: Limits) -> None:
        self.routes: tuple[Route, ...] = (Route("POST", "user_event", PATH, limits.moloco_body_bytes_max),)
        self._callers = {
            (platform, key): Caller(name, Grant(platform, app.moloco))
            for name, app in apps.items()
            if app.moloco
            for platform, keys in app.moloco.platforms.items()
            for key in keys
        }
        self._platforms = frozenset(platform for platform, _ in self._callers)
        self._keys = frozenset(key for _, key in self._callers)

    def authenticate(self, call: Call) -> Caller:
        """By key and platform together; who has no key of this server learns of no platform (contract 6.16 to 6.18)."""
        key, platform = call.headers.get(KEY_HEADER), call.parameters["platform"]
        if not key:
            raise Refused(UNAUTHENTICATED, "x-api-key is missing; `catchment keys` prints the right one")
        caller = self._callers.get((platform, key))
        if caller is not None:
            return caller
        if key in self._keys and platform not in self._platforms:
            raise Refused(NO_PLATFORM, "the platform in the path is not one of this server's")
        raise Refused(DENIED, "x-api-key is not a key of this platform; `catchment keys` prints the right one")

    def decode(self, endpoint: str, call: Call, caller: Caller, body: bytes, arrival: Arrival) -> Decoded:  # noqa: ARG002
        """The one event of the body; JSON is judged before content (contract 3)."""
        grant: Grant = caller.grant
        raws, event = _parsed(body)
        user_id, device_id, anonymous_id = identifiers = _identifiers(event)
        latest_ms = (arrival.received_at.timestamp() + grant.rules.time_ahead_seconds) * 1000
        for fault in _content_faults(event, any(identifiers), latest_ms):
            raise fault
        device = event.get("device") or {}
        revenue_amount, revenue_currency = _money(event.get("revenue"))
        shipping_amount, shipping_currency = _money(event.get("shipping_charge"))
        record = EventRecord(  # in the order of the fields, which is three times as fast
            app=caller.app,
            source=SOURCE,
            kind="event",
            event_id=event.get("id") or arrival.new_id(),
            received_us=arrival.received_us,
            payload=Raw(one_line(body).strip()),
            ip=device.get("ip") or call.peer,
            user_agent=device.get("ua") or user_agent_of(call),
            name=event["event_type"],
            time=EPOCH + timedelta(milliseconds=event["timestamp"]),
            platform=grant.platform,
            user_id=user_id,
            anonymous_id=anonymous_id,
            properties=_properties(raws, event),
            items=[_item(item) for item in event.get("items") or ()] or None,
            revenue_amount=revenue_amount,
            revenue_currency=revenue_currency,
            shipping_amount=shipping_amount,
            shipping_currency=shipping_currency,
            channel=event["channel_type"],
            decision_track_id=event.get("decision_track_id"),
            device_id=device_id,
            device_os=device.get("os"),
            search_query=event.get("search_query"),
            page_id=event.get("page_id"),
            referrer_page_id=event.get("referrer_page_id"),
            domain=event.get("domain"),
            personalization_mode=event.get("personalization_mode"),
        )
        return Decoded([record], ACCEPTED)

    def refuse(self, refused: Refused) -> Answer:
        """The gateway's error body (contract 3): the message alone, for the path is in no documented one."""
        fault = refused.fault
        message = fault.name if fault in UNROUTED else refused.reason
        headers = [*JSON_HEADERS, ("www-authenticate", message)] if fault is UNAUTHENTICATED else JSON_HEADERS
        body = msgspec.json.encode({"code": fault.code, "message": message, "details": ()})
        return Answer(fault.status, headers, body)


def _invalid(reason: str, path: str) -> Refused:
    return Refused(INVALID, reason, path=path)


def _misfit(kind: str, name: str, value: Any) -> Refused:
    """A value of the wrong JSON type, in the words of contract 6.25; the path is from the enclosing message on."""
    shown = BRACKETS.get(type(value)) or json.dumps(value, ensure_ascii=False)[:SHOWN_CHARS_MAX]
    return _invalid(f"proto: invalid value for {kind} field {name}: {shown}", name)


def _string(value: Any, name: str) -> str:
    if type(value) is not str:
        raise _misfit("string", name, value)
    return value


def _number(value: Any) -> float | None:
    """What a JSON number or decimal text stands for, as a double, which holds every integer that matters here."""
    text = type(value) is str and len(value) <= NUMBER_CHARS_MAX and NUMBER.fullmatch(value)
    try:
        number = float(value) if text or type(value) in (int, float) else math.inf
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _integer(value: Any) -> int | None:
    """The same for integers: `5`, `5.0`, `5e0` and each of them as text are 5."""
    number = _number(value)
    return int(number) if number is not None and number.is_integer() else None


def _timestamp(value: Any, name: str) -> int:
    """Milliseconds; every misfit has the one documented text (contract 6.27)."""
    number = _integer(value)
    if number is None:
        raise _invalid("invalid timestamp", name)
    return number


def _numeric(kind: str, number_of: Callable[[Any], Any], within: tuple[float, float] = (-math.inf, math.inf)) -> Read:
    def read(value: Any, name: str) -> Any:
        number = number_of(value)
        if number is None or not within[0] <= number <= within[1]:
            raise _misfit(kind, name, value)
        return number

    return read


def _enum(listed: str, *, unnumbered: str = "") -> Read:
    """By exact name or by number; the default counts as unset."""
    names = listed.split()
    table: dict[str, str | None] = {name: name for name in (*names, *unnumbered.split())}
    table |= {str(number): name for number, name in enumerate(names)}
    table |= {"0": None, names[0]: None}

    def read(value: Any, name: str) -> str | None:
        text = value if type(value) is str else str(_integer(value))
        if text not in table:
            raise _misfit("enum", name, value)
        return table[text]

    return read


def _message(strings: str = "", **others: Read) -> Read:
    """An object with these members; one given twice, in whichever spellings, is a fault (contract 6.22)."""
    reads = dict.fromkeys(strings.split(), _string) | others
    camel = {name: re.sub(r"_([a-z])", lambda match: match[1].upper(), name) for name in reads}
    fields = {spelling: (name, reads[name]) for name in reads for spelling in (name, camel[name])}

    def read(value: Any, name: str) -> Message:
        if type(value) is not tuple:
            raise _misfit("message", name, value)
        message: Message = {}
        try:
            for sent, given in value:
                member, reader = fields.get(sent) or (sent, None)
                if member in message:
                    raise _invalid(f"proto: duplicate field {member[:SHOWN_CHARS_MAX]}", member[:SHOWN_CHARS_MAX])
                message[member] = None if reader is None or given is None or given == "" else reader(given, member)
        except Refused as refused:
            refused.path = f"{name}.{refused.path}"
            raise
        return message

    return read


def _array(read_element: Read) -> Read:
    def read(value: Any, name: str) -> list[Any]:
        if type(value) is not list:
            raise _misfit("repeated", name, value)
        return [read_element(element, f"{name}[{index}]") for index, element in enumerate(value)]

    return read


# Contract 2.1 to 2.3. Strings first: they need no more than their names.
_MONEY = _message(currency=_enum(CURRENCIES, unnumbered="VEF"), amount=_numeric("double", _number))
_ITEM = _message(
    "id item_group_id seller_id", price=_MONEY, quantity=_numeric("int32", _integer, INT32), price_seller=_MONEY
)
_EVENT = _message(
    "id domain user_id search_query session_id custom_id page_id referrer_page_id decision_track_id",
    event_type=_enum(EVENT_TYPES),
    timestamp=_timestamp,
    channel_type=_enum(CHANNEL_TYPES),
    device=_message("os os_version advertising_id unique_device_id persistent_id model ua language ip"),
    items=_array(_ITEM),
    revenue=_MONEY,
    shipping_charge=_MONEY,
    personalization_mode=_enum(PERSONALIZATION_MODES),
)


def _finite(digits: str) -> float:
    """Beyond a double is no number to anything downstream."""
    if math.isinf(value := float(digits)):
        raise ValueError
    return value


_RAW_MEMBERS: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])
_PAIRS = json.JSONDecoder(object_pairs_hook=tuple, parse_float=_finite)


def _parsed(body: bytes) -> tuple[dict[str, Raw], Message]:
    """The raw members as sent, and the event. An empty body is an empty event (contract 6.24)."""
    text = body if body.strip() else b"{}"
    try:
        require_utf8(text)
        raws = _RAW_MEMBERS.decode(text)
        pairs = _PAIRS.decode(text.decode())
    except (msgspec.DecodeError, RecursionError) as error:
        fault = json_fault(error)
        raise _invalid(f"proto: syntax error: {fault.reason}", fault.path) from None
    except ValueError:
        raise _invalid("proto: syntax error: number out of range", "$") from None
    return raws, _EVENT(pairs, "$")


def _identifiers(event: Message) -> tuple[str | None, str | None, str | None]:
    """The user's, the device's and the one that stands in for both (contract 4.1), legacy ones last; an all-zero
    advertising id is what a device gives for "none" (contract 2.2)."""
    device = event.get("device") or {}
    advertising_id = device.get("advertising_id") or ""
    device_id = device.get("persistent_id") or device.get("unique_device_id")
    if not device_id and advertising_id.strip("0-"):
        device_id = advertising_id
    return event.get("user_id"), device_id, event.get("custom_id") or event.get("session_id")


def _content_faults(event: Message, identified: bool, latest_ms: float) -> Iterator[Refused]:
    """In the order of contract 3, of which only the first one counts: what follows it may build on what it denies."""
    for name in ("event_type", "channel_type"):
        if not event.get(name):
            yield _invalid(f"invalid {name}", f"$.{name}")
    timestamp = event.get("timestamp") or 0
    if not 0 < timestamp < END_MS or timestamp > latest_ms:
        yield _invalid("invalid timestamp", "$.timestamp")
    if not identified and event.get("personalization_mode") != "ID_LESS":  # which may be nobody's (contract 4.1)
        yield _invalid(NO_IDENTIFIER, "$")
    device = event.get("device") or {}
    system = (device.get("os") or "").lower()
    if event["channel_type"] == "APP" and not any(name in system for name in APP_SYSTEMS):
        yield _invalid(NO_APP_OS, "$.device.os")
    needed = NEEDED.get(event["event_type"])
    if needed and not event.get(needed):
        yield _invalid(f"missing {needed}", f"$.{needed}")
    items = [(f"$.items[{index}]", item) for index, item in enumerate(event.get("items") or ())]
    for path, item in items if needed == "items" else ():
        if not (item.get("id") or item.get("item_group_id")):
            yield _invalid(NO_ITEM_ID, path)
    for path, message in (*items, ("$", event)):
        for name in MONEYS:
            money = message.get(name)
            if money is not None and not money.get("currency"):
                yield _invalid("invalid currency", f"{path}.{name}.currency")
    for field in BOUNDED:
        parent, _, name = field.rpartition(".")
        if len((device if parent else event).get(name) or "") > ID_CHARS_MAX:
            yield _invalid(f"{field} exceeds {ID_CHARS_MAX} characters", f"$.{field}")


def _money(money: Message | None) -> tuple[float | None, str | None]:
    if money is None:
        return None, None
    return money.get("amount") or 0.0, money["currency"]


def _item(item: Message) -> Item:
    price, currency = _money(item.get("price"))
    return Item(
        id=item.get("id") or "",
        item_group_id=item.get("item_group_id") or "",
        price=price,
        currency=currency or "",
        quantity=item.get("quantity"),
        seller_id=item.get("seller_id") or "",
    )


def _properties(raws: dict[str, Raw], event: Message) -> Raw:
    """The members that no column holds in full, as sent."""
    full = all(item.keys() <= ITEM_COLUMNS for item in event.get("items") or ())
    held = COLUMNS if full else COLUMNS - {"items"}
    names = zip(raws.items(), event, strict=True)  # both in the order of the body, which has nothing twice
    kept = {sent: raw for (sent, raw), name in names if name not in held}
    return Raw(one_line(msgspec.json.encode(kept))) if kept else EMPTY_OBJECT
