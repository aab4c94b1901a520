"""What a user event must say (contracts/moloco.md 2.5 and 6.29 to 6.43), after its JSON has been read."""

from collections.abc import Iterator
from datetime import UTC, datetime

from catchment.dialects.moloco.faults import BAD_TIME, NO_APP_OS, NO_IDENTIFIER, NO_ITEM_ID, invalid
from catchment.dialects.moloco.protobuf import Message
from catchment.errors import Refused

_END_MS = int(datetime(2200, 1, 1, tzinfo=UTC).timestamp()) * 1000
_APP_SYSTEMS = ("ios", "android")
# What an event type cannot be without; `missing <member>` is the fault (contract 2.5, 6.34 to 6.37).
_NEEDED = {"SEARCH": "search_query", "PAGE_VIEW": "page_id"} | dict.fromkeys(
    ("ITEM_PAGE_VIEW", "ADD_TO_CART", "ADD_TO_WISHLIST", "PURCHASE"), "items"
)
# Identifiers of bounded length (contract 6.39); page ids may be URLs (6.40).
_BOUNDED = ("id", "user_id", "custom_id", "session_id")
_BOUNDED_OF_DEVICE = ("persistent_id", "unique_device_id")
_ITEM_MONEYS, _EVENT_MONEYS = ("price", "price_seller"), ("revenue", "shipping_charge")


def content_faults(event: Message, *, identified: bool, latest_ms: float, id_chars_max: int) -> Iterator[Refused]:
    """In the order of contract 3, of which only the first one counts: what follows it may build on what it denies."""
    for name in ("event_type", "channel_type"):
        if not event.get(name):
            yield invalid(f"invalid {name}", f"$.{name}")
    if not in_time(event.get("timestamp") or 0, latest_ms):
        yield invalid(BAD_TIME, "$.timestamp")
    if not identified and event.get("personalization_mode") != "ID_LESS":  # which may be nobody's (contract 4.1)
        yield invalid(NO_IDENTIFIER, "$")
    device = event.get("device") or {}
    system = (device.get("os") or "").lower()
    if event["channel_type"] == "APP" and not any(name in system for name in _APP_SYSTEMS):
        yield invalid(NO_APP_OS, "$.device.os")
    needed = _NEEDED.get(event["event_type"])
    if needed and not event.get(needed):
        yield invalid(f"missing {needed}", f"$.{needed}")
    items = event.get("items") or ()
    for index, item in enumerate(items) if needed == "items" else ():
        if not (item.get("id") or item.get("item_group_id")):
            yield invalid(NO_ITEM_ID, f"$.items[{index}]")
    for index, item in enumerate(items):
        for name in _ITEM_MONEYS:
            if _has_no_currency(item.get(name)):
                yield invalid("invalid currency", f"$.items[{index}].{name}.currency")
    for name in _EVENT_MONEYS:
        if _has_no_currency(event.get(name)):
            yield invalid("invalid currency", f"$.{name}.currency")
    for name in _BOUNDED:
        if len(event.get(name) or "") > id_chars_max:
            yield invalid(too_long(name, id_chars_max), f"$.{name}")
    for name in _BOUNDED_OF_DEVICE if device else ():
        if len(device.get(name) or "") > id_chars_max:
            yield invalid(too_long(f"device.{name}", id_chars_max), f"$.device.{name}")


def _has_no_currency(money: Message | None) -> bool:
    return money is not None and not money.get("currency")


def in_time(timestamp_ms: int, latest_ms: float) -> bool:
    """Whether a record can have this time, and it is not to come."""
    return 0 < timestamp_ms < _END_MS and timestamp_ms <= latest_ms


def too_long(field: str, chars_max: int) -> str:
    """The sentence about an identifier of too many characters."""
    return f"{field} exceeds {chars_max} characters"
