"""The Moloco dialect against contracts/moloco.md.

A case's id, or a comment in a test without cases, begins with the number of the item of section 6 that it checks.
"""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from catchment.dialects.dialect import Call, Caller, Decoded
from catchment.dialects.moloco import Moloco
from catchment.dialects.moloco.dialect import Grant
from catchment.dialects.moloco.faults import FAULTS
from catchment.errors import Fault, Refused
from catchment.record import encode_lines
from catchment.settings import Limits, MolocoApp
from tests.dialects.moloco_calls import (
    ABSENT,
    AHEAD_SECONDS,
    APPS,
    CHANNEL_TYPES,
    CURRENCIES,
    EVENT_MS,
    EVENT_TIME,
    EVENT_TYPES,
    ITEM_EVENTS,
    LATEST_MS,
    MIB,
    MODES,
    MOLOCO,
    MONEY,
    NO_APP_OS,
    NO_IDENTIFIER,
    NO_ITEM_ID,
    PATH,
    PLATFORM,
    RECEIVED_AT,
    RECEIVED_US,
    RULES,
    ZERO_ID,
    a_call,
    an_arrival,
    an_event,
    body_of,
    cases,
    decode,
    payload_of,
    placed,
    properties_of,
    record_of,
    refusal_of,
)
from tests.dialects.moloco_schema import EVENTS

HOME = body_of(an_event())


def home_with(member: str) -> bytes:
    return HOME[:-1] + b", " + member.encode() + b"}"


# -- section 5 --------------------------------------------------------------------------------------------------------

RECORDED = {
    case["name"]: case["body"].encode()
    for case in json.loads((Path(__file__).parent.parent / "cases" / "moloco.json").read_text("utf-8"))
    if case["status"] == 200 and case["path"].startswith("/rmp/")
}
JAVA_PURCHASE, JS_EVERYTHING = RECORDED["JAVA PURCHASE"], RECORDED["JS everything"]


@cases("body", *((f"3 {name}", body) for name, body in RECORDED.items()))
def test_a_published_body_is_accepted_and_kept_as_sent_on_one_line(body: bytes) -> None:
    record = record_of(body)
    assert json.loads(payload_of(record)) == json.loads(body)
    assert encode_lines([record]).count(b"\n") == 1
    assert b"\r" not in encode_lines([record])


def test_every_member_of_the_fullest_body_has_its_column() -> None:
    record = record_of(JS_EVERYTHING)
    assert msgspec.to_builtins(record.items) == [
        {"id": "test-item-id-1", "price": 100, "currency": "USD", "quantity": 1},
        {
            "id": "test-item-id-2",
            "item_group_id": "test-item-group-id",
            "price": 200,
            "currency": "USD",
            "quantity": 10,
            "seller_id": "test-seller-id",
        },
    ]
    sent = json.loads(JS_EVERYTHING)
    assert properties_of(record) == {"session_id": "test_session_id", "device": sent["device"]}
    columns = {name: getattr(record, name) for name in record.__struct_fields__}
    del columns["payload"], columns["properties"], columns["items"]
    defaults = dict.fromkeys(columns) | {
        "weight": 1,
        "undated": False,
        "late": False,
        "truncated": False,
        "edge": "",
        "tally": 0,
    }
    assert columns == defaults | {
        "app": "shop",
        "source": "moloco",
        "kind": "event",
        "event_id": "test_id",
        "received_us": RECEIVED_US,
        "ip": "127.0.0.1",
        "user_agent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)",
        "name": "ADD_TO_CART",
        "time": datetime(1970, 1, 19, 21, 26, 58, 357000, tzinfo=UTC),
        "platform": PLATFORM,
        "user_id": "test_user_id",
        "anonymous_id": "test_session_id",
        "revenue_amount": 300,
        "revenue_currency": "USD",
        "shipping_amount": 0.99,
        "shipping_currency": "USD",
        "channel": "APP",
        "decision_track_id": "TRACK_ID",
        "device_id": "test_persistent_id",
        "device_os": "ios",
        "search_query": "test-query",
        "page_id": "PAGE_ID",
        "referrer_page_id": "REFERRER_PAGE_ID",
    }


# -- routes and keys --------------------------------------------------------------------------------------------------


def test_a_user_event_is_posted_within_a_mebibyte_or_the_setting() -> None:
    route = MOLOCO.routes[0]
    assert (route.method, route.endpoint, route.body_bytes_max) == ("POST", "user_event", MIB)
    assert Moloco(APPS, Limits(moloco_body_bytes_max=4096)).routes[0].body_bytes_max == 4096
    found = route.pattern.match(PATH)
    assert found is not None
    assert found.groupdict() == {"platform": PLATFORM}


@cases(
    "path",
    ("19-trailing-slash", PATH + "/"),
    ("19-line-break", PATH + "\n"),
    ("19-prefix", "/x" + PATH),
    ("19-no-platform", PATH.replace(PLATFORM, "")),
    ("19-two-platforms", PATH.replace(PLATFORM, "A/B")),
    ("19-short", "/rmp/event/v1/platforms"),
)
def test_another_path_is_no_route(path: str) -> None:
    assert not any(route.pattern.match(path) for route in MOLOCO.routes)


def test_the_dialect_owns_what_is_below_rmp_and_its_two_other_doors() -> None:
    for path in ("/rmp/anything", "/cdp/SEGMENT", "/cdp/SEGMENT/", "/t/i", "/t/c/", "/t/c/P", "/t/i/P/Q"):
        assert MOLOCO.owns.match(path), path
    for path in ("/v1/actions", "/x/rmp/", "/cdp/segment", "/cdp/SEGMENTS", "/t/", "/t/x/P", "/t/index", "/x/t/i/P"):
        assert not MOLOCO.owns.match(path), path


@cases("key", *((f"2-{key}", key) for key in ("key-1", "key-2")))
def test_each_key_of_a_platform_opens_it(key: str) -> None:
    assert MOLOCO.authenticate(a_call(x_api_key=key)) == Caller("shop", Grant(PLATFORM, RULES), scope=PLATFORM)
    assert MOLOCO.key_header == "x-api-key"


@cases(
    "call, status, code",
    ("16-missing", a_call(), 401, 16),
    ("16-empty", a_call(x_api_key=""), 401, 16),
    ("16-missing-and-unknown-platform", a_call("NOWHERE"), 401, 16),
    ("17-unknown", a_call(x_api_key="key-0"), 403, 7),
    ("17-of-another-platform", a_call(x_api_key="key-other"), 403, 7),
    ("18-unknown-platform", a_call("NOWHERE", x_api_key="key-1"), 404, 5),
    ("18-platform-in-another-case", a_call(PLATFORM.lower(), x_api_key="key-1"), 404, 5),
    ("18-unknown-platform-unknown-key", a_call("NOWHERE", x_api_key="key-0"), 403, 7),
    ("18-platform-of-odd-characters", a_call("\ud800\n", x_api_key="key-1"), 404, 5),
)
def test_who_may_not_call_is_refused_by_header_and_path_alone(call: Call, status: int, code: int) -> None:
    with pytest.raises(Refused) as caught:
        MOLOCO.authenticate(call)  # 21: there is no body to judge yet
    answer = MOLOCO.refuse(caught.value)
    assert answer.status == status
    assert json.loads(answer.body) == {"code": code, "message": caught.value.reason, "details": []}
    assert ("www-authenticate" in dict(answer.headers)) == (status == 401)


@cases(
    "fault, status, code, message",
    ("19", FAULTS.not_found, 404, 5, "Not Found"),
    ("20", FAULTS.wrong_method, 405, 12, "Method Not Allowed"),
    ("47", FAULTS.too_large, 400, 3, "because"),
    ("22-encoding", FAULTS.malformed, 400, 3, "because"),
    ("45-unavailable", FAULTS.unavailable, 503, 14, "because"),
    ("45-defect", FAULTS.defect, 500, 13, "because"),
)
def test_a_fault_that_the_edge_finds_has_the_gateways_form(fault: Fault, status: int, code: int, message: str) -> None:
    answer = MOLOCO.refuse(Refused(fault, "because", path="$.x"))  # 46
    assert answer.status == status
    assert answer.headers == [("content-type", "application/json")]
    assert answer.body == b'{"code":%d,"message":"%b","details":[]}' % (code, message.encode())


# -- what succeeds ----------------------------------------------------------------------------------------------------


@cases(
    "timestamp, time",
    ("4-number", EVENT_MS, EVENT_TIME),
    ("4-text", str(EVENT_MS), EVENT_TIME),
    ("4-least", 1, datetime(1970, 1, 1, 0, 0, 0, 1000, tzinfo=UTC)),
    ("4-seconds-by-mistake", 1632418357, datetime(1970, 1, 19, 21, 26, 58, 357000, tzinfo=UTC)),
    ("4-integral-fraction", float(EVENT_MS), EVENT_TIME),
    ("4-exponent", "1.617870506121e12", EVENT_TIME),
    ("31-as-far-ahead-as-allowed", LATEST_MS, RECEIVED_AT + timedelta(seconds=AHEAD_SECONDS)),
)
def test_a_timestamp_is_milliseconds_as_number_or_text(timestamp: Any, time: datetime) -> None:
    record = record_of(an_event(timestamp=timestamp))
    assert record.time == time
    assert not record.undated
    assert not record.late


@cases("event_type, number", *((f"5-{name}", name, number) for number, name in enumerate(EVENT_TYPES, 1)))
def test_an_event_type_is_read_by_name_and_by_number(event_type: str, number: int) -> None:
    for spelling in (event_type, number, str(number), float(number)):
        assert record_of(an_event(event_type) | {"event_type": spelling}).name == event_type


@cases("channel, number", *((f"5-{name}", name, number) for number, name in enumerate(CHANNEL_TYPES, 1)))
def test_a_channel_type_is_read_by_name_and_by_number(channel: str, number: int) -> None:
    for spelling in (channel, number):
        assert record_of(an_event(channel_type=spelling, device={"os": "ios"})).channel == channel


@cases("currency", *((f"5-{name}", name) for name in CURRENCIES))
def test_a_currency_is_read_by_name(currency: str) -> None:
    assert record_of(an_event(revenue={"currency": currency, "amount": 1})).revenue_currency == currency


@cases(
    "sent, mode",
    *((f"5-{mode}", mode, mode) for mode in MODES),
    ("5-default", "UNKNOWN_PERSONALIZATION_MODE", None),
    ("5-default-number", 0, None),
    ("5-number", 2, "METRIC_ONLY"),
)
def test_a_personalization_mode_is_read_by_name_and_by_number(sent: Any, mode: str | None) -> None:
    assert record_of(an_event(personalization_mode=sent)).personalization_mode == mode


@cases(
    "extra",
    ("6-top", {"name": "Dashboard Viewed"}),
    ("6-device", {"device": {"battery": [1, {"x": None}], "ip": "1192.158.1.38"}}),
    ("6-item", {"items": [{"id": "a", "brand": {"deep": [[[]]]}}]}),
    ("6-nearly-known", {"user_Id": 5, "UserId": {}, "User_id": []}),
)
def test_unknown_members_are_no_fault_and_stay_in_the_properties(extra: dict[str, Any]) -> None:
    assert properties_of(record_of(an_event(**extra))) == extra


@cases("unset", ("6-null", None), ("6-empty", ""))
def test_null_and_the_empty_string_are_not_given(unset: Any) -> None:
    names = ("id", "domain", "session_id", "custom_id", "device", "items", "revenue", "shipping_charge", "page_id")
    record = record_of(an_event(**dict.fromkeys(names, unset)))
    assert record.event_id == "made-1"
    given = (record.items, record.revenue_amount, record.page_id, record.domain, record.anonymous_id)
    assert given == (None,) * 5
    item = dict.fromkeys(("item_group_id", "price", "quantity", "seller_id"), unset)
    purchase = record_of(an_event("PURCHASE", items=[{"id": "a"} | item]))
    assert msgspec.to_builtins(purchase.items) == [{"id": "a"}]


def camel(value: Any) -> Any:
    if isinstance(value, dict):
        return {re.sub("_(.)", lambda part: part[1].upper(), key): camel(inner) for key, inner in value.items()}
    return [camel(inner) for inner in value] if isinstance(value, list) else value


def test_camel_case_names_are_read_too() -> None:  # 6
    sent = json.loads(JS_EVERYTHING) | {"custom_id": "c", "personalization_mode": "STANDARD", "domain": "d"}
    snake, other = record_of(sent), record_of(camel(sent))
    assert json.loads(payload_of(other)) == camel(sent)
    assert properties_of(other) == {"sessionId": "test_session_id", "device": camel(sent["device"])}
    other.payload, other.properties = snake.payload, snake.properties
    assert other == snake


ALL_DEVICE_IDS = {"persistent_id": "p", "unique_device_id": "q", "advertising_id": "a"}


@cases(
    "identifiers, columns",
    ("7-user_id", {"user_id": "u"}, ("u", None, None)),
    ("7-persistent_id", {"device": {"persistent_id": "p"}}, (None, "p", None)),
    ("7-custom_id", {"custom_id": "c"}, (None, None, "c")),
    ("7-unique_device_id", {"device": {"unique_device_id": "q"}}, (None, "q", None)),
    ("7-advertising_id", {"device": {"advertising_id": "7ace-0"}}, (None, "7ace-0", None)),
    ("7-session_id", {"session_id": "s"}, (None, None, "s")),
    ("7-all", {"user_id": "u", "custom_id": "c", "session_id": "s", "device": ALL_DEVICE_IDS}, ("u", "p", "c")),
    ("7-ID_LESS-without-any", {"personalization_mode": "ID_LESS"}, (None, None, None)),
)
def test_any_identifier_will_do_and_has_its_column(
    identifiers: dict[str, Any], columns: tuple[str | None, ...]
) -> None:
    record = record_of(an_event(**({"user_id": ABSENT} | identifiers)))
    assert (record.user_id, record.device_id, record.anonymous_id) == columns


@cases(
    "channel, os",
    *((f"8-APP-{os}", "APP", os) for os in ("iOS", "IOS", "ios 17", "Android 14", "android")),
    *((f"8-{channel}-{os}", channel, os) for channel in CHANNEL_TYPES[1:] for os in ("Windows", None)),
)
def test_an_app_has_one_of_two_systems_and_a_site_any_or_none(channel: str, os: str | None) -> None:
    assert record_of(an_event(channel_type=channel, device={"os": os})).device_os == os


@cases(
    "item, read",
    ("9-id-only", {"id": "a"}, {"id": "a"}),
    ("9-quantity", {"quantity": 3}, {"quantity": 3}),
    ("9-quantity-text", {"quantity": "25"}, {"quantity": 25}),
    ("9-quantity-integral", {"quantity": 2.0}, {"quantity": 2}),
    ("9-quantity-exponent", {"quantity": "2e1"}, {"quantity": 20}),
    ("9-quantity-most", {"quantity": 2**31 - 1}, {"quantity": 2**31 - 1}),
    ("9-price", {"price": MONEY}, {"price": 12.34, "currency": "USD"}),
    ("9-price-text", {"price": {"currency": "EUR", "amount": "0.5"}}, {"price": 0.5, "currency": "EUR"}),
)
def test_an_item_needs_little(item: dict[str, Any], read: dict[str, Any]) -> None:
    record = record_of(an_event("PURCHASE", items=[{"item_group_id": "g"} | item]))
    assert msgspec.to_builtins(record.items) == [{"item_group_id": "g"} | read]
    assert properties_of(record) == {}


@cases("amount", *((f"10-{amount}", amount) for amount in (0, 300, 0.99, -5, -0.01, 10**15)))
def test_an_amount_may_be_any_number_and_not_the_sum(amount: float) -> None:
    item = {"id": "a", "price": MONEY, "quantity": 3}
    money = {"currency": "USD", "amount": amount}
    record = record_of(an_event("PURCHASE", items=[item], revenue=money, shipping_charge=money))
    assert record.revenue_amount == record.shipping_amount == amount


@cases("event_type", *((f"11-{name}", name) for name in ("HOME", "LAND")))
def test_stray_members_of_other_events_are_kept(event_type: str) -> None:
    record = record_of(an_event(event_type, items=[{"id": "a"}], search_query="q", revenue=MONEY))
    assert (record.search_query, record.revenue_amount, len(record.items or ())) == ("q", 12.34, 1)


def test_an_event_without_an_id_gets_one_of_the_servers() -> None:  # 12
    arrival = an_arrival()
    ids = [decode(body_of(an_event()), arrival=arrival).records[0].event_id for _ in range(2)]
    assert ids == ["made-1", "made-2"]
    assert record_of(an_event(id="given")).event_id == "given"


def test_the_members_of_the_properties_are_as_sent() -> None:  # 13
    extra = b'"extra":{"n":1.50,\n"big":123456789012345678901234567890},"channelType2":"x","session_id":null'
    body = HOME[:-1] + b',"custom_id":"\\u00e9\xc3\xa9",' + extra + b"}"
    record = record_of(body)
    assert bytes(record.properties) == b"{" + extra.replace(b"\n", b" ") + b"}"
    assert payload_of(record) == body.replace(b"\n", b" ")
    assert record.anonymous_id == "éé"


def test_items_stay_in_the_properties_if_an_item_has_more_than_its_columns() -> None:
    items = [{"id": "a"}, {"id": "b", "price_seller": MONEY}]
    assert properties_of(record_of(an_event("PURCHASE", items=items))) == {"items": items}


@cases("track_id", *((f"14-{text}", text) for text in ("TRACK_ID", " ", "x" * 500)))
def test_any_decision_track_id_is_kept(track_id: str) -> None:
    assert record_of(an_event(decision_track_id=track_id)).decision_track_id == track_id


@cases("content_type", *((f"15-{text or 'none'}", text) for text in ("", "text/plain", "a/b; charset=utf-16")))
def test_the_content_type_does_not_matter(content_type: str) -> None:
    call = a_call(x_api_key="key-1", content_type=content_type)
    assert decode(body_of(an_event()), call).records


def test_the_calls_address_and_user_agent_stand_in_for_the_devices() -> None:
    (record,) = decode(body_of(an_event(device={"os": "ios"})), a_call(x_api_key="key-1", user_agent="okhttp")).records
    assert (record.ip, record.user_agent) == ("192.0.2.7", "okhttp")
    assert (record_of(an_event()).ip, record_of(an_event()).user_agent) == ("192.0.2.7", None)


# -- JSON and types ---------------------------------------------------------------------------------------------------


@cases(
    "body",
    ("22-truncated", HOME[:-1]),
    ("22-open", b"{"),
    ("22-quotes", b"{'event_type':'HOME'}"),
    ("22-more", HOME + b"x"),
    ("22-two-events", HOME * 2),
    ("22-line-break-in-string", HOME.replace(b"somebody", b"some\nbody")),
    ("22-carriage-return-in-string", HOME.replace(b"somebody", b"some\rbody")),
    ("22-control-character", HOME.replace(b"somebody", b"some\x00body")),
    ("22-byte-order-mark", b"\xef\xbb\xbf" + HOME),
    ("22-utf-16", HOME.decode().encode("utf-16")),
    ("22-invalid-utf-8", HOME.replace(b"somebody", b"\xff")),
    ("22-invalid-utf-8-in-unknown-member", HOME[:-1] + b',"x":["\xed\xa0\x80"]}'),
    ("22-lone-surrogate", HOME.replace(b"somebody", rb"\ud800")),
    ("22-lone-surrogate-in-unknown", home_with(r'"x":["\udc00 and more"]')),
    ("22-lone-surrogate-in-name", home_with(r'"\ud83d and more":1')),
    ("22-NaN", home_with('"x":NaN')),
    ("22-Infinity", home_with('"x":-Infinity')),
    ("22-beyond-double", home_with('"x":1e999')),
    ("22-ten-thousand-digits", home_with('"x":' + "9" * 9999)),
    ("22-deep-and-truncated", home_with('"x":' + "[" * 100_000)),
    ("22-deep", home_with('"x":' + "[" * 100_000 + "]" * 100_000)),
    ("22-odd-space", b"\x0b" + HOME),
    ("23-array", b"[]"),
    ("23-array-of-events", b"[" + HOME + b"]"),
    ("23-string", b'"text"'),
    ("23-number", b"5"),
    ("23-null", b"null"),
    ("23-boolean", b"true"),
)
def test_what_is_not_one_json_object_is_refused(body: bytes) -> None:
    refused = refusal_of(body)
    assert refused.reason.startswith("proto: syntax error: ")
    assert refused.path == "$"


@cases(
    "member, path",
    ("22-twice", '"user_id":"x"', "$.user_id"),
    ("22-in-both-spellings", '"userId":"x"', "$.user_id"),
    ("22-once-null", '"user_id":null', "$.user_id"),
    ("22-unknown-twice", '"x":1,"x":1', "$.x"),
    ("22-in-device", '"device":{"os":"a","os":"a"}', "$.device.os"),
    ("22-in-item", '"items":[{},{"id":"a","id":"a"}]', "$.items[1].id"),
    ("22-in-price", '"items":[{"price":{"currency":"USD","currency":"USD"}}]', "$.items[0].price.currency"),
    ("22-in-revenue", '"revenue":{"amount":1,"amount":1}', "$.revenue.amount"),
)
def test_a_member_that_is_given_twice_is_refused(member: str, path: str) -> None:
    refused = refusal_of(home_with(member))
    assert (refused.reason, refused.path) == (f"proto: duplicate field {path.rpartition('.')[2]}", path)


@cases("body", *((f"24-{body!r}", body) for body in (b"", b" ", b"\r\n\t", b"{}")))
def test_an_empty_body_is_an_empty_event(body: bytes) -> None:
    assert refusal_of(body).reason == "invalid event_type"


STRINGS = "id domain user_id search_query session_id custom_id page_id referrer_page_id decision_track_id"
MISFITS: tuple[tuple[int, str, str, Any, str], ...] = (
    *((25, "string", name, 5, "5") for name in re.findall(r"\w+", STRINGS)),
    (25, "string", "user_id", 2.5, "2.5"),
    (25, "string", "user_id", False, "false"),
    (25, "string", "user_id", {"a": 1}, "{"),
    (25, "string", "user_id", [], "["),
    (25, "string", "user_id", 10**400, "1" + 63 * "0"),
    (25, "string", "device.os", 5, "5"),
    (25, "string", "items[1].id", 5, "5"),
    (26, "repeated", "items", {}, "{"),
    (26, "repeated", "items", {"item_id": "1234"}, "{"),
    (26, "repeated", "items", "string", '"string"'),
    (26, "message", "items[0]", "a", '"a"'),
    (26, "message", "items[1]", None, "null"),
    (26, "message", "items[0]", [], "["),
    (26, "message", "device", "ios", '"ios"'),
    (26, "message", "device", [], "["),
    (26, "message", "revenue", 5, "5"),
    (26, "message", "shipping_charge", [MONEY], "["),
    (26, "message", "items[0].price", 5, "5"),
    (28, "int32", "items[0].quantity", 1.5, "1.5"),
    (28, "int32", "items[0].quantity", "a", '"a"'),
    (28, "int32", "items[0].quantity", " 1", '" 1"'),
    (28, "int32", "items[0].quantity", True, "true"),
    (28, "int32", "items[0].quantity", 2**31, "2147483648"),
    (28, "double", "revenue.amount", "ten", '"ten"'),
    (28, "double", "revenue.amount", "NaN", '"NaN"'),
    (28, "double", "revenue.amount", "1e999", '"1e999"'),
    (28, "double", "revenue.amount", 10**400, "1" + 63 * "0"),
    (28, "double", "revenue.amount", {}, "{"),
    (28, "enum", "event_type", "purchase", '"purchase"'),
    (28, "enum", "event_type", "CLICK", '"CLICK"'),
    (28, "enum", "event_type", 99, "99"),
    (28, "enum", "event_type", -1, "-1"),
    (28, "enum", "event_type", True, "true"),
    (28, "enum", "event_type", ["HOME"], "["),
    (28, "enum", "channel_type", "site", '"site"'),
    (28, "enum", "revenue.currency", "usd", '"usd"'),
    (28, "enum", "personalization_mode", "ALL", '"ALL"'),
)


@cases("kind, path, value, shown", *((f"{item}-{row[1]}-{row[3]}", *row) for item, *row in MISFITS))
def test_a_value_of_the_wrong_type_is_refused(kind: str, path: str, value: Any, shown: str) -> None:
    refused = refusal_of(an_event(**placed(path, value)))
    assert refused.reason == f"proto: invalid value for {kind} field {path.rpartition('.')[2]}: {shown}"
    assert refused.path == f"$.{path}"


NO_INTEGERS: tuple[Any, ...] = ("abc", 1.5, "1.5", "2024-02-05T23:37:42.848Z", " 1", "0x10", True, [["a"]], {"a": 1})


@cases(
    "timestamp",
    *((f"27-{value!r}", value) for value in NO_INTEGERS),
    *((f"27-{value!r}", value) for value in (2**63, str(2**63), 10**400, "1e400", "9" * 5000)),
    *((f"31-{value!r}", value) for value in (ABSENT, None, "", 0, "0", -1, "-5", LATEST_MS + 1, 253402300799000)),
)
def test_a_time_that_is_none_or_to_come_is_refused(timestamp: Any) -> None:
    refused = refusal_of(an_event(timestamp=timestamp))
    assert (refused.reason, refused.path) == ("invalid timestamp", "$.timestamp")


def test_no_setting_lets_a_time_through_that_a_record_cannot_hold() -> None:
    rules = MolocoApp(platforms={PLATFORM: ["k"]}, time_ahead_seconds=1e300)
    caller = Caller("shop", Grant(PLATFORM, rules))
    with pytest.raises(Refused, match="invalid timestamp"):
        MOLOCO.decode("user_event", a_call(), caller, body_of(an_event(timestamp=10**15)), an_arrival())


# -- content ----------------------------------------------------------------------------------------------------------

UNSET = (ABSENT, None, "")
NO_ITEMS: tuple[Any, ...] = (ABSENT, None, [], "")
NO_IDS = {"id": "", "item_group_id": None, "seller_id": "s"}
NO_CURRENCY: tuple[Any, ...] = ({}, {"amount": 5}, {"currency": "UNKNOWN_CURRENCY"}, {"currency": 0}, {"currency": ""})


@cases(
    "event, reason, path",
    ("29-absent", an_event(event_type=ABSENT), "invalid event_type", "$.event_type"),
    ("29-null", an_event(event_type=None), "invalid event_type", "$.event_type"),
    ("29-empty", an_event(event_type=""), "invalid event_type", "$.event_type"),
    ("29-unknown", an_event("UNKNOWN_EVENT_TYPE"), "invalid event_type", "$.event_type"),
    ("29-zero", an_event(event_type=0), "invalid event_type", "$.event_type"),
    ("30-absent", an_event(channel_type=ABSENT), "invalid channel_type", "$.channel_type"),
    ("30-unknown", an_event(channel_type="UNKNOWN_CHANNEL_TYPE"), "invalid channel_type", "$.channel_type"),
    ("32-none", an_event(user_id=ABSENT), NO_IDENTIFIER, "$"),
    ("32-empty", an_event(user_id="", custom_id=None, session_id="", device={"persistent_id": ""}), NO_IDENTIFIER, "$"),
    ("32-zeros", an_event(user_id=ABSENT, device={"advertising_id": ZERO_ID}), NO_IDENTIFIER, "$"),
    ("33-no-device", an_event(channel_type="APP"), NO_APP_OS, "$.device.os"),
    ("33-no-os", an_event(channel_type="APP", device={}), NO_APP_OS, "$.device.os"),
    ("33-empty", an_event(channel_type="APP", device={"os": ""}), NO_APP_OS, "$.device.os"),
    ("33-iPadOS", an_event(channel_type="APP", device={"os": "iPadOS"}), NO_APP_OS, "$.device.os"),
    *(
        (f"{item}-{value!r}", an_event(of_type, **{member: value}), f"missing {member}", f"$.{member}")
        for item, of_type, member in ((34, "SEARCH", "search_query"), (35, "PAGE_VIEW", "page_id"))
        for value in UNSET
    ),
    *((f"36-{name}", an_event(name, items=[{"id": "a"}, NO_IDS]), NO_ITEM_ID, "$.items[1]") for name in ITEM_EVENTS),
    ("36-by-another-name", an_event("PURCHASE", items=[{"item_id": "1234"}]), NO_ITEM_ID, "$.items[0]"),
    *(
        (f"37-{of_type}-{value!r}", an_event(of_type, items=value), "missing items", "$.items")
        for of_type in ITEM_EVENTS
        for value in NO_ITEMS
    ),
    *(
        (f"39-{path}", an_event(**placed(path, "x" * 129)), f"{path} exceeds 128 characters", f"$.{path}")
        for path in ("id", "user_id", "custom_id", "session_id", "device.persistent_id", "device.unique_device_id")
    ),
    *(
        (f"41-{path}-{money}", an_event(**placed(path, money)), "invalid currency", f"$.{path}.currency")
        for path in ("revenue", "shipping_charge", "items[1].price", "items[0].price_seller")
        for money in NO_CURRENCY
    ),
)
def test_content_that_does_not_do_is_refused_in_the_documented_words(
    event: dict[str, Any], reason: str, path: str
) -> None:
    refused = refusal_of(event)
    assert (refused.reason, refused.path) == (reason, path)
    answer = MOLOCO.refuse(refused)  # 46
    assert answer.headers == [("content-type", "application/json")]
    assert json.loads(answer.body) == {"code": 3, "message": reason, "details": []}


@cases(
    "event",
    ("34-blank", an_event("SEARCH", search_query=" ")),
    ("38-HOME", an_event(items=[{}, {"seller_id": "s"}])),
    ("38-SEARCH", an_event("SEARCH", items=[{}])),
    ("38-PAGE_VIEW", an_event("PAGE_VIEW", items=[])),
    ("39-as-long-as-allowed", an_event(custom_id="é" * 128, device={"persistent_id": "x" * 128})),
    ("40", an_event("PAGE_VIEW", page_id="x" * 2000, referrer_page_id="y" * 2000)),
    ("42", an_event("PURCHASE")),
    ("47-a-mebibyte", an_event("PURCHASE", padding="x" * (MIB - 200))),
)
def test_what_no_document_forbids_is_accepted(event: dict[str, Any]) -> None:
    assert json.loads(payload_of(record_of(event))) == event


def test_money_without_an_amount_is_an_amount_of_zero() -> None:
    record = record_of(an_event("PURCHASE", items=[{"id": "a", "price": {"currency": "USD"}}], revenue={"currency": 1}))
    assert (record.revenue_amount, record.revenue_currency) == (0, "USD")  # 41
    assert msgspec.to_builtins(record.items) == [{"id": "a", "price": 0.0, "currency": "USD"}]


def test_the_first_of_several_faults_is_answered_in_the_order_of_section_3() -> None:
    faults = [
        ("event_type", "HOME", "invalid event_type"),
        ("channel_type", "APP", "invalid channel_type"),
        ("timestamp", EVENT_MS, "invalid timestamp"),
        ("user_id", "u", NO_IDENTIFIER),
        ("device", {"os": "ios"}, NO_APP_OS),
        ("event_type", "PURCHASE", None),
        ("items", [{"price": {}}], "missing items"),
        ("items", [{"id": "a", "price": {}}], NO_ITEM_ID),
        ("items", [{"id": "a"}], "invalid currency"),
        ("id", "short", "id exceeds 128 characters"),
    ]
    event: dict[str, Any] = {"id": "x" * 129}
    for name, repair, reason in faults:
        if reason is not None:
            assert refusal_of(event).reason == reason  # 43
        event[name] = repair
    assert record_of(event).event_id == "short"


def test_a_fault_of_json_comes_before_one_of_content() -> None:
    assert refusal_of(b'{"user_id":5}').reason == "proto: invalid value for string field user_id: 5"


# -- any input --------------------------------------------------------------------------------------------------------


def outcome(body: bytes) -> None:
    """Either a record that can be written as one line of JSON, or a refusal that can be answered."""
    result: Decoded | Refused
    try:
        result = decode(body)
    except Refused as refused:
        result = refused
    if isinstance(result, Refused):
        answer = MOLOCO.refuse(result)
        assert answer.status == 400
        assert json.loads(answer.body) == {"code": 3, "message": result.reason, "details": []}
        assert result.path.startswith("$")
    else:
        line = encode_lines(result.records)
        assert line.index(b"\n") == len(line) - 1
        assert json.loads(line)["payload"] == json.loads(body)


@given(st.binary(max_size=200))
@example(b'{"a":"\\ud800"}')
@example(b"\x0b")
def test_any_bytes_are_decoded_or_refused(body: bytes) -> None:
    outcome(body)


@given(st.binary(max_size=8), st.integers(0, len(JAVA_PURCHASE)), st.integers(0, 8))
def test_a_damaged_event_is_decoded_or_refused(damage: bytes, position: int, lost: int) -> None:
    outcome(JAVA_PURCHASE[:position] + damage + JAVA_PURCHASE[position + lost :])


NAMES = st.sampled_from(
    re.findall(
        r"\w+",
        "id event_type timestamp channel_type domain user_id userId device items revenue search_query session_id x os "
        "custom_id page_id pageId referrer_page_id shipping_charge decision_track_id personalization_mode ua ip price "
        "persistent_id advertising_id unique_device_id item_group_id price_seller quantity seller_id currency amount",
    )
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**300, max_value=10**320)
    | st.floats()
    | st.text(max_size=5)
    | st.text(alphabet=st.characters(), max_size=3)
    | st.sampled_from(
        ["", "0", "5", "1e3", "1.0", "USD", "HOME", "PURCHASE", "APP", "SITE", "ios", ZERO_ID, str(EVENT_MS)]
    )
)
NEARLY = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=20
)


@given(st.dictionaries(NAMES, NEARLY, max_size=8), st.booleans(), st.booleans())
def test_any_json_near_the_schema_is_decoded_or_refused(changes: dict[str, Any], sound: bool, plain: bool) -> None:
    event = (an_event("PURCHASE") if sound else {}) | changes
    body = json.dumps(event, ensure_ascii=plain).encode(errors="surrogatepass")
    outcome(body)


@given(EVENTS, st.none() | st.integers(0, 4), st.booleans())
def test_a_valid_event_becomes_a_record_whose_payload_is_what_was_sent(
    event: dict[str, Any], indent: int | None, plain: bool
) -> None:
    body = json.dumps(event, indent=indent, ensure_ascii=plain).encode()
    record = record_of(body)
    assert payload_of(record) == body.replace(b"\n", b" ")
    written = json.loads(encode_lines([record]))
    assert written["payload"] == event
    assert written["event_id"] == event.get("id", "made-1")
    assert written["name"] == event["event_type"]
    assert written["user_id"] == event["user_id"]
    assert [item["id"] for item in written["items"]] == [item["id"] for item in event["items"]]
    assert record.time == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(event["timestamp"]))
    assert properties_of(record).get("extra") == event.get("extra")
