"""Calls of the Moloco dialect, as the edge makes them."""

import json
import re
from datetime import UTC, datetime
from itertools import count
from typing import Any

import msgspec
import pytest

from catchment.dialects.dialect import Answer, Arrival, Call, Caller, Decoded, Dialect, Headers
from catchment.dialects.moloco import Moloco
from catchment.dialects.moloco.dialect import Grant
from catchment.errors import Refused
from catchment.record import EventRecord
from catchment.settings import App, Limits, MolocoApp

PLATFORM = "MOLOCO_SHOP_DEMO"
PATH = f"/rmp/event/v1/platforms/{PLATFORM}/userevents"
RECEIVED_AT = datetime(2025, 3, 4, 5, 6, 7, 890000, tzinfo=UTC)
RECEIVED_US = 1_741_064_767_890_000
AHEAD_SECONDS = 300
LATEST_MS = RECEIVED_US // 1000 + AHEAD_SECONDS * 1000
EVENT_MS = 1_617_870_506_121
EVENT_TIME = datetime(2021, 4, 8, 8, 28, 26, 121000, tzinfo=UTC)
PLATFORMS = {PLATFORM: ["key-1", "key-2"], "OTHER_SHOP": ["key-other"]}
RULES = MolocoApp(platforms=PLATFORMS, time_ahead_seconds=AHEAD_SECONDS)
APPS = {"shop": App(moloco=RULES), "unrelated": App()}
CALLER = Caller("shop", Grant(PLATFORM, RULES))
# The length of ids that the vendor documents; the default is looser.
MOLOCO: Dialect = Moloco(APPS, Limits(moloco_id_chars_max=128))
MIB = 1024 * 1024

NEEDED = {"SEARCH": "search_query", "PAGE_VIEW": "page_id"}
ITEM_EVENTS = ("ITEM_PAGE_VIEW", "ADD_TO_CART", "PURCHASE", "ADD_TO_WISHLIST")
EVENT_TYPES = ("SEARCH", "ITEM_PAGE_VIEW", "ADD_TO_CART", "PURCHASE", "ADD_TO_WISHLIST", "HOME", "LAND", "PAGE_VIEW")
CHANNEL_TYPES = ("APP", "SITE", "DESKTOP_SITE", "MOBILE_SITE")
MODES = ("STANDARD", "METRIC_ONLY", "ID_LESS")
CURRENCIES = re.findall(
    r"\w+",
    "USD KRW JPY EUR GBP SEK INR THB IDR CNY CAD RUB BRL SGD HKD AUD PLN DKK VND MYR PHP TRY VES AED CHF VEF",
)
NO_IDENTIFIER = "no available valid identifier to construct Moloco advertising ID"
NO_APP_OS = "device os must contain ios or android for the app channel type"
NO_ITEM_ID = "invalid item: either id or item_group_id must be set"
ZERO_ID = "00000000-0000-0000-0000-000000000000"
MONEY = {"currency": "USD", "amount": 12.34}
ABSENT = ...


def cases(names: str, *rows: tuple[Any, ...]) -> pytest.MarkDecorator:
    """Parametrises a test; the first value of a row is its id."""
    return pytest.mark.parametrize(names.split(", "), [pytest.param(*values, id=name[:50]) for name, *values in rows])


def a_call(platform: str = PLATFORM, **fields: str) -> Call:
    headers: Headers = {name.replace("_", "-"): value for name, value in fields.items()}
    return Call("POST", PATH.replace(PLATFORM, platform), "", headers, "192.0.2.7", {"platform": platform})


def an_arrival() -> Arrival:
    numbers = count(1)
    return Arrival(RECEIVED_AT, RECEIVED_US, lambda: f"made-{next(numbers)}")


def decode(body: bytes, call: Call | None = None, arrival: Arrival | None = None) -> Decoded:
    return MOLOCO.decode("user_event", call or a_call(x_api_key="key-1"), CALLER, body, arrival or an_arrival())


def body_of(event: Any) -> bytes:
    return event if isinstance(event, bytes) else json.dumps(event).encode()


def record_of(event: Any) -> EventRecord:
    """The one record of an event, given as Python values or as the bytes of a body."""
    decoded = decode(body_of(event))
    assert decoded.answer == Answer(200, [("content-type", "application/json")], b"{}")
    (record,) = decoded.records
    assert isinstance(record, EventRecord)
    return record


def refusal_of(event: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        decode(body_of(event))
    assert caught.value.fault[:2] == (400, 3)
    return caught.value


def payload_of(record: EventRecord) -> bytes:
    assert isinstance(record.payload, msgspec.Raw)
    return bytes(record.payload)


def properties_of(record: EventRecord) -> Any:
    return json.loads(bytes(record.properties))


def an_event(of_type: Any = "HOME", **changes: Any) -> dict[str, Any]:
    """A sound event of the type; a change to ABSENT takes a member away."""
    event = {"event_type": of_type, "timestamp": EVENT_MS, "channel_type": "SITE", "user_id": "somebody"}
    if of_type in ITEM_EVENTS:
        event["items"] = [{"id": "sku"}]
    if of_type in NEEDED:
        event[NEEDED[of_type]] = "shoes"
    return {name: value for name, value in (event | changes).items() if value is not ABSENT}


def placed(path: str, value: Any) -> Any:
    """The value within objects and arrays so that it stands at the path: `items[0].id` gives {"items": [{"id": 5}]}."""
    for part in reversed(re.findall(r"\w+", path)):
        value = [*[{}] * int(part), value] if part.isdigit() else {part: value}
    return value
