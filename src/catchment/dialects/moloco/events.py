"""A user event's record."""

from datetime import timedelta

import msgspec
from msgspec import Raw

from catchment.dialects.dialect import Arrival, Call, one_line, user_agent_of
from catchment.dialects.moloco.forms import EPOCH
from catchment.dialects.moloco.identity import Identifiers
from catchment.dialects.moloco.protobuf import Message
from catchment.record import EMPTY_OBJECT, EventRecord, Item

SOURCE = "moloco"
# Members that the record has columns for. Not so `device`, which has more members than columns, and `session_id`, which
# gives way to `custom_id`; nor `items` as soon as an item has more than its columns.
_COLUMNS = frozenset(
    ("id", "event_type", "timestamp", "channel_type", "domain", "user_id", "items", "revenue", "search_query")
) | {"custom_id", "page_id", "referrer_page_id", "shipping_charge", "decision_track_id", "personalization_mode"}
_ITEM_COLUMNS = frozenset(("id", "item_group_id", "price", "quantity", "seller_id"))


def event_record(
    event: Message,
    raws: dict[str, Raw],
    body: bytes,
    *,
    app: str,
    platform: str,
    identifiers: Identifiers,
    call: Call,
    arrival: Arrival,
) -> EventRecord:
    """`body` is the event as sent, `raws` are its members, `event` what they say."""
    device = event.get("device") or {}
    revenue_amount, revenue_currency = _money(event.get("revenue"))
    shipping_amount, shipping_currency = _money(event.get("shipping_charge"))
    user_id, device_id, anonymous_id, first = identifiers
    return EventRecord(  # in the order of the fields, which is three times as fast
        app=app,
        source=SOURCE,
        kind="event",
        event_id=event.get("id") or arrival.new_id(),
        received_us=arrival.received_us,
        payload=Raw(one_line(body).strip()),
        ip=device.get("ip") or call.peer,
        user_agent=device.get("ua") or user_agent_of(call),
        name=event["event_type"],
        time=EPOCH + timedelta(milliseconds=event["timestamp"]),
        platform=platform,
        user_id=user_id,
        identity=None if user_id else first,
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
    full = all(item.keys() <= _ITEM_COLUMNS for item in event.get("items") or ())
    held = _COLUMNS if full else _COLUMNS - {"items"}
    names = zip(raws.items(), event, strict=True)  # both in the order of the body, which has nothing twice
    kept = {sent: raw for (sent, raw), name in names if name not in held}
    return Raw(one_line(msgspec.json.encode(kept))) if kept else EMPTY_OBJECT
