"""A tracker call's record: an impression or a click of what the Decision API chose (contracts/moloco.md 4.2, 6.50).

A call has no key and no body, and the one parameter that the vendor knows is `source`, opaque, by which it counts once.
So the record's id is `source` behind the name, and its time, which is the server's, tells no copies apart. Whoever
makes the URLs may add who saw what and when: parameters that are named as in a user event, and `item_id`. Then a
purchase can be attributed to a click by identity; by `decision_track_id`, too, where that was added or is `source`.
"""

from datetime import timedelta
from urllib.parse import parse_qsl

import msgspec
from msgspec import Raw

from catchment.dialects.dialect import Arrival, Call, user_agent_of
from catchment.dialects.moloco.content import in_time, too_long
from catchment.dialects.moloco.events import SOURCE
from catchment.dialects.moloco.faults import BAD_TIME, invalid
from catchment.dialects.moloco.forms import EPOCH, milliseconds
from catchment.dialects.moloco.identity import identifiers_of
from catchment.record import EMPTY_OBJECT, EventRecord, Item
from catchment.settings import Limits

TOUCHES = {"impression": "IMPRESSION", "click": "CLICK"}  # the record's names, by endpoint
_PARAMETERS_MAX = 32
_DEVICE = ("persistent_id", "unique_device_id", "advertising_id")
_BOUNDED = ("user_id", "custom_id", "session_id", *_DEVICE)
# Parameters that the record has columns for; the others are its properties.
_HELD = frozenset(("source", "timestamp", "decision_track_id", "user_id", "custom_id", "persistent_id")) | {
    "item_id",
    "item_group_id",
    "seller_id",
}


def touch_record(
    name: str, *, app: str, call: Call, arrival: Arrival, time_ahead_seconds: float, limits: Limits
) -> EventRecord:
    """`name` is one of `TOUCHES`. Raises `Refused` where `source` is missing or a parameter does not do."""
    given = _parameters(call.query, limits.moloco_tracker_query_chars_max)
    source = given.get("source")
    if not source:
        raise invalid("missing source", "")
    for field in _BOUNDED:
        if len(given.get(field, "")) > limits.moloco_id_chars_max:
            raise invalid(too_long(field, limits.moloco_id_chars_max), "")
    time = arrival.received_at
    if "timestamp" in given:
        timestamp_ms = milliseconds(given["timestamp"], "")
        if not in_time(timestamp_ms, (time.timestamp() + time_ahead_seconds) * 1000):
            raise invalid(BAD_TIME, "")
        time = EPOCH + timedelta(milliseconds=timestamp_ms)
    user_id, device_id, anonymous_id, first = identifiers_of({**given, "device": given})
    item = Item(
        id=given.get("item_id", ""),
        item_group_id=given.get("item_group_id", ""),
        seller_id=given.get("seller_id", ""),
    )
    properties = {parameter: value for parameter, value in given.items() if parameter not in _HELD}
    sent = {"method": call.method, "path": call.path, "query": call.query}
    return EventRecord(  # in the order of the fields, which is three times as fast
        app=app,
        source=SOURCE,
        kind="event",
        event_id=f"{name}:{source}",
        received_us=arrival.received_us,
        payload=Raw(msgspec.json.encode(sent)),
        ip=call.peer,
        user_agent=user_agent_of(call),
        name=name,
        time=time,
        undated=True,
        platform=call.parameters["platform"],
        user_id=user_id,
        identity=None if user_id else first,
        anonymous_id=anonymous_id,
        properties=Raw(msgspec.json.encode(properties)) if properties else EMPTY_OBJECT,
        items=[item] if item != Item() else None,
        decision_track_id=given.get("decision_track_id") or source,
        device_id=device_id,
    )


def _parameters(query: str, chars_max: int) -> dict[str, str]:
    """The parameters that are not empty; of one that comes twice, the last."""
    if len(query) > chars_max:
        raise invalid(too_long("query", chars_max), "")
    try:
        query.encode()
        return dict(parse_qsl(query, errors="strict", max_num_fields=_PARAMETERS_MAX))
    except UnicodeError:
        raise invalid("query is not valid UTF-8", "") from None
    except ValueError:
        raise invalid(f"query has more than {_PARAMETERS_MAX} parameters", "") from None
