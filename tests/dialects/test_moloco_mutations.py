"""Of a good user event with one thing wrong, the answer is known: its status, its code, its words and the place."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from catchment.dialects.dialect import Answer
from catchment.errors import Refused
from tests.dialects.moloco_calls import ITEM_EVENTS, MOLOCO, NO_APP_OS, NO_IDENTIFIER, NO_ITEM_ID, body_of, decode
from tests.dialects.moloco_schema import EVENTS, IDS, ITEMS, MONEYS

Draw = Callable[[st.SearchStrategy[Any]], Any]
Prediction = tuple[str, str] | None  # message and path; None: it is accepted

STRINGS = ("id", "user_id", "custom_id", "session_id", "search_query", "page_id", "domain", "referrer_page_id")
BOUNDED = ("id", "user_id", "custom_id", "session_id", "device.persistent_id", "device.unique_device_id")
MONEYED = ("revenue", "shipping_charge")
OTHERS: st.SearchStrategy[Any] = (
    st.booleans() | st.integers(-9, 9) | st.just([]) | st.just({}) | st.text(min_size=1, max_size=3)
)
SHOWN: dict[type, str] = {list: "[", dict: "{"}
WHOLE = st.builds(
    lambda event, item, revenue: event | {"items": [{"id": "sku"}, item], "revenue": revenue},
    EVENTS,
    ITEMS,
    st.builds(lambda money: {"amount": 1.5} | money, MONEYS),
)
REQUIRED = ("event_type", "timestamp", "channel_type")


def misfit(kind: str, name: str, value: Any) -> str:
    shown = SHOWN.get(type(value)) or json.dumps(value, ensure_ascii=False)
    return f"proto: invalid value for {kind} field {name}: {shown}"


def another_type(draw: Draw, wanted: tuple[type, ...]) -> Any:
    value = draw(OTHERS)
    assume(type(value) not in wanted)
    return value


def absent(event: dict[str, Any], name: str) -> Prediction:
    """What is said of an event that does not have the member."""
    if name in REQUIRED:
        return f"invalid {name}", f"$.{name}"
    identified = any(event.get(other) for other in ("user_id", "custom_id", "session_id"))
    device = event.get("device") or {}
    identified |= any(device.get(other) for other in ("persistent_id", "unique_device_id"))
    if not identified and event.get("personalization_mode") != "ID_LESS":
        return NO_IDENTIFIER, "$"
    if name == "device" and event["channel_type"] == "APP":
        return NO_APP_OS, "$.device.os"
    needed = {"SEARCH": "search_query", "PAGE_VIEW": "page_id"} | dict.fromkeys(ITEM_EVENTS, "items")
    return (f"missing {name}", f"$.{name}") if needed.get(event["event_type"]) == name else None


def drop(draw: Draw, event: dict[str, Any]) -> Prediction:
    name = draw(st.sampled_from(sorted(event)))
    del event[name]
    return absent(event, name)


def set_to_nothing(draw: Draw, event: dict[str, Any]) -> Prediction:
    name = draw(st.sampled_from(sorted(event)))
    event[name] = draw(st.sampled_from([None, ""]))
    return absent(event, name)


def rename(draw: Draw, event: dict[str, Any]) -> Prediction:
    name = draw(st.sampled_from(sorted(event)))
    event[name.upper()] = event.pop(name)
    return absent(event, name)


def retype_a_text(draw: Draw, event: dict[str, Any]) -> Prediction:
    name = draw(st.sampled_from(STRINGS))
    event[name] = another_type(draw, (str,))
    return misfit("string", name, event[name]), f"$.{name}"


def retype_a_message(draw: Draw, event: dict[str, Any]) -> Prediction:
    name = draw(st.sampled_from(("device", *MONEYED)))
    event[name] = another_type(draw, (dict,))
    return misfit("message", name, event[name]), f"$.{name}"


def retype_the_items(draw: Draw, event: dict[str, Any]) -> Prediction:
    if draw(st.booleans()):
        event["items"] = another_type(draw, (list,))
        return misfit("repeated", "items", event["items"]), "$.items"
    event["items"][1] = another_type(draw, (dict,))
    return misfit("message", "items[1]", event["items"][1]), "$.items[1]"


def retype_an_enum(draw: Draw, event: dict[str, Any]) -> Prediction:
    name = draw(st.sampled_from(["event_type", "channel_type", "personalization_mode"]))
    event[name] = draw(st.sampled_from(["Home", "app", "ALL", True, -1, 99, [], {}]))
    return misfit("enum", name, event[name]), f"$.{name}"


def spoil_the_time(draw: Draw, event: dict[str, Any]) -> Prediction:
    wrong = [0, -1, True, 1.5, "soon", "2024-02-05T23:37:42.848Z", 2**63, 253402300799000, [], {}]
    event["timestamp"] = draw(st.sampled_from(wrong))
    return "invalid timestamp", "$.timestamp"


def overflow_an_id(draw: Draw, event: dict[str, Any]) -> Prediction:
    field = draw(st.sampled_from(BOUNDED))
    parent, _, name = field.rpartition(".")
    (event["device"] if parent else event)[name] = "x" * 129
    return f"{field} exceeds 128 characters", f"$.{field}"


def overflow_a_number(draw: Draw, event: dict[str, Any]) -> Prediction:
    if draw(st.booleans()):
        event["items"][1]["quantity"] = draw(st.sampled_from([2**31, -(2**31) - 1, "2147483648", 1.5]))
        return misfit("int32", "quantity", event["items"][1]["quantity"]), "$.items[1].quantity"
    event["revenue"]["amount"] = draw(st.sampled_from(["1e999", "NaN", "ten", True]))
    return misfit("double", "amount", event["revenue"]["amount"]), "$.revenue.amount"


def take_the_ids_of_an_item(draw: Draw, event: dict[str, Any]) -> Prediction:
    event["items"][1] = {name: value for name, value in event["items"][1].items() if "id" not in name[-8:]}
    event["items"][1] |= draw(st.sampled_from([{}, {"id": ""}, {"item_group_id": None}]))
    return (NO_ITEM_ID, "$.items[1]") if event["event_type"] in ITEM_EVENTS else None


def take_a_currency(draw: Draw, event: dict[str, Any]) -> Prediction:
    event["revenue"].pop("currency")
    event["revenue"] |= draw(st.sampled_from([{}, {"currency": "UNKNOWN_CURRENCY"}, {"currency": 0}]))
    return "invalid currency", "$.revenue.currency"


def take_the_system_of_an_app(draw: Draw, event: dict[str, Any]) -> Prediction:
    event["channel_type"] = "APP"
    event["device"]["os"] = draw(st.sampled_from(["iPadOS", "Windows", None, ""]))
    return NO_APP_OS, "$.device.os"


def give_twice(draw: Draw, event: dict[str, Any]) -> Prediction:
    event["userId"] = draw(IDS)
    return "proto: duplicate field user_id", "$.user_id"


def add_what_is_not_known(draw: Draw, event: dict[str, Any]) -> Prediction:
    event[draw(st.sampled_from(["User_id", "ip", "überflüssig"]))] = draw(OTHERS)
    return None


MUTATIONS = (
    drop, set_to_nothing, rename, retype_a_text, retype_a_message, retype_the_items, retype_an_enum, spoil_the_time,
    overflow_an_id, overflow_a_number, take_the_ids_of_an_item, take_a_currency, take_the_system_of_an_app, give_twice,
    add_what_is_not_known,
)  # fmt: skip


@settings(deadline=None, max_examples=600)
@given(st.data(), WHOLE, st.sampled_from(MUTATIONS))
def test_an_event_with_one_thing_wrong_is_refused_for_that(
    data: st.DataObject, event: dict[str, Any], mutate: Callable[[Draw, Any], Prediction]
) -> None:
    prediction = mutate(data.draw, event)
    try:
        decode(body_of(event))
    except Refused as refused:
        found: Prediction = (refused.reason, refused.path)
        answer: Answer | None = MOLOCO.refuse(refused)
    else:
        found, answer = None, None
    assert found == prediction
    if answer and prediction:
        assert answer.status == 400
        assert json.loads(answer.body) == {"code": 3, "message": prediction[0], "details": []}
