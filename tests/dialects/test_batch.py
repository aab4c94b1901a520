"""The Batch.com dialect against the checklist of contracts/batch.md, section 6; names begin with the item's number."""

import json
import re
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from catchment.dialects.batch import Batch
from catchment.dialects.dialect import Arrival, Call, Decoded
from catchment.errors import Fault, Refused
from catchment.record import EventRecord, encode_lines
from catchment.settings import App, BatchApp, Limits, TimeWindow
from tests.dialects.batch_schema import ANYTHING, EVENTS, MEMBERS, PROMO, SCALARS, TIME, USERS

NOW = datetime(2024, 5, 31, 22, 30, 5, tzinfo=UTC)
NOW_US = 1_717_194_605_000_000
LIVE, DEV, SDK, REST = "live-key", "dev-key", "sdk-key", "rest-key"
SINGLE, BULK = f"/1.0/{LIVE}/events/users/vincent", f"/1.0/{LIVE}/events/users"
KEYS = {"x-authorization": REST, "user-agent": "shop/1.0"}

MISSING = Fault(400, 30, "MISSING_PARAMETER")
MALFORMED = Fault(400, 31, "MALFORMED_PARAMETER")
MALFORMED_JSON = Fault(400, 32, "MALFORMED_JSON_BODY")
AUTHENTICATION = Fault(401, 10, "AUTHENTICATION_INVALID")
ROUTE = Fault(404, 20, "ROUTE_NOT_FOUND")

# The two example bodies of the vendor's page, and the fixtures of its public client (contract 5).
PAGE_EVENT = {
    "name": "ue.added_to_cart",
    "time": TIME,
    "label": "shoes",
    "attributes": {"id": "00-00-xxx-xxx", "sub_category": "boots", "date(promo_ends)": PROMO},
    "tags": ["private-sales", "summer-discount"],
}
PAGE_OTHER = {
    **PAGE_EVENT,
    "label": "glasses",
    "attributes": {"id": "00-00-yyy-yyy", "sub_category": "accessories", "date(promo_ends)": PROMO},
}
PAGE_SINGLE = {"events": [PAGE_EVENT]}
PAGE_BULK = [{"id": "vincent", "events": [PAGE_EVENT]}, {"id": "claire", "events": [PAGE_OTHER]}]
DEPOSIT = {"name": "ue.user_deposit_activated", "attributes": {"deposit_type": "GRANT_17_18", "deposit_amount": 150}}
OFFER = {
    "name": "ue.future_offer_activated",
    "attributes": {
        "offer_id": 42,
        "offer_name": "Super Future Offer",
        "offer_category": "CINEMA",
        "offer_subcategory": "SEANCE_CINE",
        "offer_type": "duo",
    },
}
OFFERS = [{"id": "1", "events": [OFFER]}, {"id": "2", "events": [OFFER]}]
GOOD = {"name": "ue.x"}


def dialect(time_window: TimeWindow = "flag", **limits: int) -> Batch:
    apps = {
        "shop": App(
            batch=BatchApp(rest_api_keys=["old-key", REST], live=[LIVE], dev=[DEV], sdk=[SDK], time_window=time_window)
        ),
        "other": App(batch=BatchApp(rest_api_keys=["other-rest"], live=["other-live"])),
        "silent": App(),
    }
    return Batch(apps, Limits(**limits))


BATCH = dialect()


def arrival() -> Arrival:
    ids = count(1)
    return Arrival(NOW, NOW_US, lambda: str(UUID(int=next(ids))))


def deliver(
    body: Any, path: str = SINGLE, *, headers: dict[str, str] = KEYS, method: str = "POST", batch: Batch = BATCH
) -> Decoded:
    """What the edge does with a call. A body that is not bytes is sent as JSON."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    for route in batch.routes:
        match = route.pattern.match(path)
        if match and route.method == method:
            call = Call(method, path, "", headers, "203.0.113.7", match.groupdict())
            return batch.decode(route.endpoint, call, batch.authenticate(call), body, arrival())
    raise Refused(batch.faults.not_found, "no such route")


def records(*args: Any, **kwargs: Any) -> list[EventRecord]:
    decoded = deliver(*args, **kwargs)
    encode_lines(decoded.records)
    return [record for record in decoded.records if isinstance(record, EventRecord)]


def record(event: Any, batch: Batch = BATCH) -> EventRecord:
    """The record of one event, given as JSON text or as a value."""
    text = event if isinstance(event, bytes) else json.dumps(event).encode()
    (only,) = records(b'{"events":[%b]}' % text, batch=batch)
    return only


def payload(record: EventRecord) -> bytes:
    assert isinstance(record.payload, Raw)
    return bytes(record.payload)


def refusal(*args: Any, **kwargs: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        deliver(*args, **kwargs)
    return caught.value


def named(**members: Any) -> dict[str, Any]:
    return {"name": "ue.x", **members}


def with_attributes(**attributes: Any) -> dict[str, Any]:
    return named(attributes=attributes)


def bulk(*events: Any, id: Any = "vincent") -> list[Any]:
    return [{"id": id, "events": list(events)}]


def test_1_the_page_s_single_example_becomes_one_record_and_a_201_with_a_token() -> None:
    answer = deliver(PAGE_SINGLE).answer
    assert (answer.status, answer.headers) == (201, [("content-type", "application/json")])
    token = json.loads(answer.body)["token"]
    assert UUID(token)
    (only,) = records(PAGE_SINGLE)
    assert only == EventRecord(
        app="shop",
        source="batch",
        kind="event",
        event_id=str(UUID(int=2)),
        received_us=NOW_US,
        payload=only.payload,
        ip="203.0.113.7",
        user_agent="shop/1.0",
        name="ue.added_to_cart",
        time=datetime(2012, 8, 12, 22, 30, 5, tzinfo=UTC),
        late=True,
        user_id="vincent",
        properties=only.properties,
        tags=["private-sales", "summer-discount"],
        label="shoes",
        request_token=token,
        platform_key_kind="live",
        dates={"promo_ends": datetime(2021, 8, 12, 22, 30, 5, tzinfo=UTC)},
    )
    assert json.loads(payload(only)) == PAGE_EVENT
    assert json.loads(bytes(only.properties)) == {"id": "00-00-xxx-xxx", "sub_category": "boots", "promo_ends": PROMO}


@pytest.mark.parametrize(
    ("body", "users"),
    [
        pytest.param(PAGE_BULK, ["vincent", "claire"], id="2 the page's bulk example"),
        pytest.param(OFFERS, ["1", "2"], id="2 the public client's bulk fixture"),
        pytest.param(bulk(GOOD, GOOD) + bulk(GOOD, id="b") + bulk(GOOD), ["vincent"] * 2 + ["b", "vincent"], id="7"),
    ],
)
def test_a_bulk_body_becomes_a_record_for_each_event_in_its_order(body: Any, users: list[str]) -> None:
    found = records(body, BULK)
    assert [record.user_id for record in found] == users
    assert [record.received_us for record in found] == [NOW_US + index for index in range(len(users))]
    assert len({record.event_id for record in found}) == len(users)
    assert {record.request_token for record in found} == {str(UUID(int=1))}
    sent = [event for item in body for event in item["events"]]
    assert [json.loads(payload(record)) for record in found] == sent


def test_3_and_52_a_repeated_body_has_a_token_and_ids_of_its_own() -> None:
    call = Call("POST", BULK, "", KEYS, "203.0.113.7", {"api_key": LIVE})
    caller, same_arrival = BATCH.authenticate(call), arrival()
    first, second = (BATCH.decode("bulk", call, caller, json.dumps(PAGE_BULK).encode(), same_arrival) for _ in range(2))
    assert first.answer.body != second.answer.body
    assert not {record.event_id for record in first.records} & {record.event_id for record in second.records}


@pytest.mark.parametrize(
    "user_id", ["a B", "a/b", "a+b", "Vincent", " v ", "a\nb", "100%", "%2F", "é😀", "x" * 1024, "a/"]
)
def test_4_the_user_id_is_kept_as_the_server_decoded_it(user_id: str) -> None:
    assert records(PAGE_SINGLE, f"{BULK}/{user_id}")[0].user_id == user_id
    assert records(bulk(GOOD, id=user_id), BULK)[0].user_id == user_id


@pytest.mark.parametrize(("key", "kind"), [(LIVE, "live"), (DEV, "dev"), (SDK, "sdk")])
def test_5_each_kind_of_api_key_leads_to_the_application_and_is_recorded(key: str, kind: str) -> None:
    (only,) = records(PAGE_SINGLE, f"/1.0/{key}/events/users/v")
    assert (only.app, only.platform_key_kind) == ("shop", kind)


def test_6_the_key_header_is_looked_up_in_lower_case_and_each_rest_key_is_good() -> None:
    assert BATCH.key_header == "x-authorization"
    assert records(PAGE_SINGLE, headers={"x-authorization": "old-key"})


def test_7_and_32_a_thousand_events_pass_and_one_more_does_not() -> None:
    assert len(records({"events": [GOOD] * 1000})) == 1000
    assert len(records(bulk(*[GOOD] * 400) + bulk(*[GOOD] * 600), BULK)) == 1000
    assert refusal({"events": [GOOD] * 1001}).path == "$.events"
    over = refusal(bulk(*[GOOD] * 400) + bulk(*[GOOD] * 601), BULK)
    assert (over.fault, over.path) == (MALFORMED, "$[1].events")
    assert refusal({"events": [GOOD] * 3}, batch=dialect(batch_events_max=2)).fault == MALFORMED


def test_8_an_event_of_just_a_name_has_the_arrival_time() -> None:
    only = record({"name": "ue.x"})
    assert (only.time, only.late, only.undated) == (NOW, False, False)
    assert (only.dates, only.tags, only.label) == (None, None, None)
    assert bytes(only.properties) == b"{}"


@pytest.mark.parametrize(
    ("age", "late", "refused"),
    [
        pytest.param(timedelta(0), False, False, id="9 now"),
        pytest.param(timedelta(hours=24), False, False, id="9 the back edge"),
        pytest.param(timedelta(hours=24, seconds=1), True, True, id="36 too old"),
        pytest.param(timedelta(days=9999), True, True, id="36 much too old"),
        pytest.param(timedelta(seconds=-60), False, False, id="9 the front edge"),
        pytest.param(timedelta(seconds=-61), False, True, id="36 in the future"),
    ],
)
def test_a_time_outside_the_window_is_flagged_or_refused(age: timedelta, late: bool, refused: bool) -> None:
    event = named(time=(NOW - age).strftime("%Y-%m-%dT%H:%M:%S"))
    only = record(event)
    assert (only.time, only.late) == (NOW - age, late)
    strict = dialect("reject")
    if refused:
        found = refusal({"events": [GOOD, event]}, batch=strict)
        assert (found.fault, found.path) == (MALFORMED, "$.events[1].time")
    else:
        assert record(event, strict).late is False


@pytest.mark.parametrize("character", ["x", "é", "\\u00e9"])
def test_10_an_event_at_all_limits_at_once_passes(character: str) -> None:
    attributes = {f"a{index:029}": character * 64 for index in range(15)}
    tags = [f"{index}" + character * 63 for index in range(10)]
    event = {"name": "ue." + "N" * 64, "label": character * 200, "attributes": attributes, "tags": tags}
    only = record(json.dumps(event, ensure_ascii=False).replace("\\\\", "\\").encode())
    assert only.label == ("é" if "\\" in character else character) * 200
    assert only.tags is not None
    assert (len(only.tags), only.name, len(json.loads(bytes(only.properties)))) == (10, "ue." + "n" * 64, 15)


def test_11_attribute_values_keep_their_json_type_and_spelling() -> None:
    values = b'"a":1,"b":1.0,"c":true,"d":"1","e":12.50,"f":-9223372036854775808,"g":9223372036854775807,"h":1e2'
    only = record(b'{"name":"ue.x","attributes":{%b}}' % values)
    assert bytes(only.properties) == b"{%b}" % values
    assert only.dates is None


@pytest.mark.parametrize(
    ("value", "time"),
    [
        (PROMO, datetime(2021, 8, 12, 22, 30, 5, tzinfo=UTC)),
        ("2021-01-01T04:00:00.125", datetime(2021, 1, 1, 4, 0, 0, 125_000, tzinfo=UTC)),
        ("2021-01-01T04:00:00Z", datetime(2021, 1, 1, 4, tzinfo=UTC)),
        (1451642400, datetime(2016, 1, 1, 10, tzinfo=UTC)),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (7258118399, datetime(2199, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_12_a_date_attribute_is_stored_under_its_inner_name(value: Any, time: datetime) -> None:
    only = record(named(attributes={"date(x_1)": value, "y": PROMO}))
    assert only.dates == {"x_1": time}
    assert json.loads(bytes(only.properties)) == {"x_1": value, "y": PROMO}


def test_12_the_shape_of_the_time_may_have_milliseconds_or_z() -> None:
    assert record(named(time="2024-05-31T10:00:00.250Z")).time == datetime(2024, 5, 31, 10, 0, 0, 250_000, tzinfo=UTC)


def test_13_unknown_members_are_ignored_and_stay_in_the_payload() -> None:
    event = named(id=5, date=[None], **{"ä": {}})
    (only,) = records([{"id": "v", "events": [event], "update": 1, "name": None}], BULK)
    assert json.loads(payload(only)) == event
    assert records({"events": [event], "id": 7, "overwrite": False})[0].user_id == "vincent"


def test_14_the_content_type_is_not_looked_at() -> None:
    for content_type in ("application/json; charset=utf-8", "text/plain"):
        assert records(PAGE_SINGLE, headers={**KEYS, "content-type": content_type})


def test_15_the_bulk_route_may_end_in_a_slash() -> None:
    assert len(records(PAGE_BULK, BULK + "/")) == 2


def test_16_an_optional_member_that_is_null_is_absent() -> None:
    only = record(named(time=None, label=None, attributes=None, tags=None))
    assert (only.time, only.label, only.tags, bytes(only.properties)) == (NOW, None, None, b"{}")


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        pytest.param(SINGLE, {}, id="17 no key"),
        pytest.param(SINGLE, {"x-authorization": ""}, id="17 an empty key"),
        pytest.param(SINGLE, {"x-authorization": "wrong"}, id="18 a wrong key"),
        pytest.param(SINGLE, {"x-authorization": "clé\udcff"}, id="18 a key that is not ASCII"),
        pytest.param(BULK.replace(LIVE, "nobody"), KEYS, id="19 an unknown API key"),
        pytest.param(BULK.replace(LIVE, REST), KEYS, id="19 the REST key in the path"),
        pytest.param(SINGLE, {"x-authorization": "other-rest"}, id="20 another application's REST key"),
        pytest.param(SINGLE.replace(LIVE, "other-live"), KEYS, id="20 another application's API key"),
    ],
)
def test_a_call_whose_keys_do_not_agree_is_refused_even_if_its_body_is_bad(path: str, headers: dict[str, str]) -> None:
    found = refusal(b"23 not JSON", path, headers=headers)
    assert (found.fault, found.path) == (AUTHENTICATION, "")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", SINGLE.replace("1.0", "2.0")),
        ("POST", BULK.replace("1.0", "1.1")),
        ("POST", f"/1.0/{LIVE}/events/user"),
        ("POST", f"/1.0/{LIVE}/events/users\n"),
        ("POST", f"/1.0/{LIVE}/data/users/v"),
        ("POST", f"/1.0/a/{LIVE}/events/users"),
        ("GET", SINGLE),
        ("DELETE", BULK),
    ],
)
def test_22_any_other_path_version_or_method_is_not_a_route(method: str, path: str) -> None:
    assert BATCH.owns.match(path)
    assert refusal(PAGE_SINGLE, path, method=method).fault == ROUTE == BATCH.faults.wrong_method


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        b'{"events":[{"name":"ue.x"}',
        b'{"events":[{"name":"ue.x"}]} x',
        b'{"events":[{"name":"ue.\xff"}]}',
        b'{"events":[{"name":"ue.x","other":"\xff"}]}',
        b'{"events":[{"name":"ue.x","attributes":{"a":NaN}}]}',
        b'{"events":[{"name":"ue.x","other":-Infinity}]}',
        b'{"events":[{"name":"ue.x","label":"a\nb"}]}',
        b'{"events":[{"name":"ue.x","label":"\\ud800"}]}',
        b'{"events":5, oops',
        b'{"events":[{"name":5}], oops',
        b"5 5",
        b'{"events":[{"name":"ue.x","other":' + b"[" * 9999 + b"]" * 9999 + b"}]}",
    ],
)
@pytest.mark.parametrize("path", [SINGLE, BULK])
def test_24_what_is_not_json_is_a_malformed_body_whatever_else_is_wrong(body: bytes, path: str) -> None:
    assert refusal(body, path).fault == MALFORMED_JSON


def test_24_of_two_members_with_one_name_the_last_wins() -> None:
    text = b'{"name":5,"name":"ue.x","tags":{},"label":"","label":"b","tags":["T"],"attributes":{"a":[],"a":1}}'
    only = record(text)
    assert (only.name, only.label, only.tags, bytes(only.properties)) == ("ue.x", "b", ["t"], b'{"a":1}')
    assert payload(only) == text
    assert records(b'{"events":5,"events":[{"name":"ue.x"}]}')
    assert records(b'[{"id":"","id":"v","events":[{"name":"ue.x"}]}]', BULK)[0].user_id == "v"


S, B = SINGLE, BULK
EMOJI = "\N{GRINNING FACE}"
BAD_IDS: list[Any] = [123, "", " \t\u00a0", "x" * 1025, EMOJI * 513]
BAD_LABELS: list[Any] = [7, "", " \u2003", "x" * 201, EMOJI * 101, "a\nb", "a\r", "a\u2028b"]
BAD_VALUES: list[Any] = [None, [1], {}, "x" * 65, EMOJI * 33, 2**63, -(2**63) - 1, 10**1000]
BAD_NAMES = ["", "x", "ue.", "UE.x", "u.x", "ue.a-b", "ue.a b", "ue.a.b", "ue.é", "ue.x\n", "ue." + "x" * 65]
BAD_TIMES = [
    *("", "soon", "1717194605", "2024-01-01", "2024-01-01 10:00:00", "2024-01-01t10:00:00", "2024-01-01T10:00"),
    *("2024-01-01T10:00:00+02:00", "2024-01-01T10:00:00.1", "2024-01-01T10:00:00\n", "2024-01-01T10:00:0\u0661"),
    *("2024-W01-1T10:00:00", "2024-02-30T00:00:00", "2023-02-29T00:00:00", "2024-01-01T24:00:00"),
    *("2024-01-01T10:00:60", "1969-12-31T23:59:59", "2200-01-01T00:00:00", "0000-01-01T00:00:00"),
]
BAD_DATES: list[Any] = [True, 1.5, None, [], -1, 7258118400, 1717194605000, 10**30, *BAD_TIMES]
BAD_KEYS = [
    *("", "a-b", "a.b", "a b", "x\n", "date(Promo)", "date(a-b)", f"date({'x' * 31})", "date(", "date()", "date(a b)"),
    *("date(a)b", "date(a", "a)", "date (a)", "date(date(a))", "DATE(a)", "url(x)", "int(x)"),
]


def event_fault(id: str, event: Any, place: str, fault: Fault = MALFORMED) -> Any:
    return pytest.param(S, {"events": [GOOD, event]}, fault, f"$.events[1]{place}", id=id)


@pytest.mark.parametrize(
    ("path", "body", "fault", "place"),
    [
        pytest.param(S, 5, MALFORMED, "$", id="25 single: a number"),
        pytest.param(B, "x", MALFORMED, "$", id="25 bulk: a string"),
        pytest.param(S, None, MALFORMED, "$", id="25 single: null"),
        pytest.param(B, None, MALFORMED, "$", id="25 bulk: null"),
        pytest.param(S, {}, MISSING, "$.events", id="26 single without events"),
        pytest.param(B, [{"events": [GOOD]}], MISSING, "$[0].id", id="27 without id"),
        pytest.param(B, [*bulk(GOOD), {"id": "v"}], MISSING, "$[1].events", id="27 without events"),
        event_fault("28 without name", {"label": 7}, ".name", MISSING),
        event_fault("29 name null", {"label": 7, "name": None}, ".name", MISSING),
        pytest.param(S, {"events": None}, MISSING, "$.events", id="29 events null"),
        pytest.param(B, bulk(GOOD, id=None), MISSING, "$[0].id", id="29 id null"),
        pytest.param(S, PAGE_BULK, MALFORMED, "$", id="30 an array on the single route"),
        pytest.param(B, PAGE_SINGLE, MALFORMED, "$", id="30 an object on the bulk route"),
        pytest.param(B, [*bulk(GOOD), []], MALFORMED, "$[1]", id="30 a bulk item that is not an object"),
        event_fault("30 an event that is not an object", [], ""),
        event_fault("30 an event that is null", None, ""),
        pytest.param(S, {"events": GOOD}, MALFORMED, "$.events", id="31 events not an array"),
        pytest.param(S, {"events": []}, MALFORMED, "$.events", id="31 events empty"),
        pytest.param(B, [], MALFORMED, "$", id="31 bulk empty"),
        pytest.param(B, [*bulk(GOOD), *bulk()], MALFORMED, "$[1].events", id="31 a user without an event"),
        *(pytest.param(B, bulk(GOOD, id=id), MALFORMED, "$[0].id", id=f"33 {id!r}"[:24]) for id in BAD_IDS),
        pytest.param(f"{B}/ ", PAGE_SINGLE, MALFORMED, "", id="33 blank in the path"),
        pytest.param(f"{B}/{'x' * 1025}", PAGE_SINGLE, MALFORMED, "", id="33 1025 characters in the path"),
        pytest.param(f"{B}/\udcff", PAGE_SINGLE, MALFORMED, "", id="33 not UTF-8 in the path"),
        *(event_fault(f"34 {name!r}"[:30], {"name": name}, ".name") for name in (5, [], *BAD_NAMES)),
        *(event_fault(f"35 {time!r}", named(time=time), ".time") for time in (1717194605, *BAD_TIMES)),
        *(event_fault(f"37 {label!r}"[:24], named(label=label), ".label") for label in BAD_LABELS),
        event_fault("38 an array", named(attributes=[]), ".attributes"),
        event_fault("38 16 entries", with_attributes(**{f"a{i}": i for i in range(16)}), ".attributes"),
        *(
            event_fault(f"39/40 {key}"[:40], with_attributes(a=1, **{key: PROMO}), f".attributes[{key!r}]")
            for key in BAD_KEYS
        ),
        event_fault("39 upper case", with_attributes(Sub_Category=1), ".attributes.Sub_Category"),
        event_fault("39 not ASCII", with_attributes(é=1), ".attributes.é"),
        event_fault("39 31 characters", with_attributes(**{"x" * 31: 1}), f".attributes.{'x' * 31}"),
        event_fault("39 a huge name", with_attributes(**{"-" * 99999: 1}), f".attributes[{'-' * 64!r}]"),
        *(event_fault(f"41 {value!r}"[:24], with_attributes(x=value), ".attributes.x") for value in BAD_VALUES),
        *(
            event_fault(f"42 {value!r}", with_attributes(**{"date(x)": value}), ".attributes['date(x)']")
            for value in BAD_DATES
        ),
        *(
            event_fault(f"43 {name}", named(tags=tags), f".tags{place}")
            for name, tags, place in (
                ("not an array", "a", ""),
                ("11 tags", ["a"] * 11, ""),
                ("not a string", ["a", 5], "[1]"),
                ("null", [None], "[0]"),
                ("empty", ["a", "b", ""], "[2]"),
                ("blank", [" "], "[0]"),
                ("65 characters", ["a", "x" * 65], "[1]"),
            )
        ),
        event_fault("44 plain, then date", with_attributes(**{"x": 1, "date(x)": 1}), ".attributes['date(x)']"),
        event_fault("44 date, then plain", with_attributes(**{"date(x)": 1, "x": 1}), ".attributes.x"),
        event_fault("46 33 emoji in a tag", named(tags=[EMOJI * 33]), ".tags[0]"),
    ],
)
def test_a_faulty_body_is_refused_and_the_message_names_the_place(
    path: str, body: Any, fault: Fault, place: str
) -> None:
    found = refusal(body, path)
    assert (found.fault, found.path) == (fault, place)
    answer = BATCH.refuse(found)
    message = json.loads(answer.body)["message"]
    assert message.startswith(place.removeprefix("$").removeprefix(".") or ("body" if place else "a custom user id"))
    assert len(answer.body) < 400


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"9" * 6000, b"18446744073709551616"])
def test_41_a_number_beyond_64_bits_is_refused(number: bytes) -> None:
    found = refusal(b'{"events":[{"name":"ue.x","attributes":{"a":%b}}]}' % number)
    assert (found.fault, found.path) == (MALFORMED, "$.events[0].attributes.a")


def test_42_a_plain_key_with_a_date_is_a_string() -> None:
    only = record(with_attributes(a=PROMO))
    assert (only.dates, bytes(only.properties)) == (None, b'{"a":"%b"}' % PROMO.encode())


def test_43_tags_are_counted_before_they_are_put_in_lower_case_and_made_unique() -> None:
    assert record(named(tags=["B", "a", "b", "A", "Été"])).tags == ["b", "a", "été"]


@pytest.mark.parametrize(
    ("events", "fault", "place"),
    [
        ([GOOD, named(tags=[5]), {}, GOOD], MALFORMED, "$.events[1].tags[0]"),
        ([GOOD, {}, named(tags=[5])], MISSING, "$.events[1].name"),
        ([named(label="", tags=5)], MALFORMED, "$.events[0].label"),
        ([{"tags": 5, "label": "", "name": ""}], MALFORMED, "$.events[0].tags"),
        (
            [{"attributes": {"a": 1, "B": 1, "c": None}, "time": 1, "name": "ue.x"}],
            MALFORMED,
            "$.events[0].attributes.B",
        ),
        ([{"tags": 5}], MISSING, "$.events[0].name"),
    ],
)
def test_45_the_first_fault_of_the_document_refuses_the_request(events: Any, fault: Fault, place: str) -> None:
    found = refusal({"events": events})
    assert (found.fault, found.path) == (fault, place)
    found = refusal(bulk(GOOD) + bulk(*events), BULK)
    assert (found.fault, found.path) == (fault, "$[1]" + place.removeprefix("$"))


@pytest.mark.parametrize("escaped", [True, False])
def test_46_an_emoji_counts_as_two_characters(escaped: bool) -> None:
    event = named(label=EMOJI * 100, attributes={"x": EMOJI * 32}, tags=[EMOJI * 32])
    only = record(json.dumps(event, ensure_ascii=escaped).encode())
    assert (only.label, only.tags) == (EMOJI * 100, [EMOJI * 32])


def test_21_an_application_without_trigger_events_misuses_the_api() -> None:
    off = {"shop": App(batch=BatchApp(rest_api_keys=[REST], live=[LIVE], trigger_events=False))}
    found = refusal(b"not JSON", batch=Batch(off, Limits()))
    assert found.fault == Fault(403, 12, "API_MISUSE")
    assert refusal(GOOD, headers={"x-authorization": "wrong"}, batch=Batch(off, Limits())).fault == AUTHENTICATION


@pytest.mark.parametrize("user_id", ["undefined", "NULL", "nil", "(null)", "[object Object]", "NaN", "-Infinity", "0"])
def test_33_an_id_that_the_sdk_blocks_is_taken(user_id: str) -> None:
    assert records(bulk(GOOD, id=user_id), BULK)[0].user_id == user_id


def test_33_the_limit_of_a_user_id_is_a_setting() -> None:
    strict = dialect(batch_user_id_chars_max=4)
    assert records(bulk(GOOD, id=EMOJI * 2), BULK, batch=strict)
    for path, body in ((BULK, bulk(GOOD, id="12345")), (BULK + "/12345", PAGE_SINGLE)):
        assert "1 to 4 characters" in refusal(body, path, batch=strict).reason


def test_47_too_many_requests_are_told_when_to_come_back() -> None:
    answer = BATCH.refuse(Refused(BATCH.faults.too_many, "wait a little"))
    assert answer.status == 429
    assert ("retry-after", "5") in answer.headers
    assert json.loads(answer.body) == {"code": 60, "type": "TOO_MANY_REQUESTS", "message": "wait a little"}


def test_48_and_49_the_faults_that_the_edge_decides_on_are_in_the_vendor_s_terms() -> None:
    faults = BATCH.faults
    assert (faults.not_found, faults.wrong_method, faults.too_large) == (ROUTE, ROUTE, MALFORMED)
    assert faults.malformed == MALFORMED_JSON
    assert faults.unavailable == Fault(503, 2, "MAINTENANCE_ERROR")
    assert faults.defect == Fault(500, 1, "SERVER_ERROR")
    assert {route.body_bytes_max for route in BATCH.routes} == {16 * 1024 * 1024}
    assert {route.body_bytes_max for route in dialect(batch_body_bytes_max=2048).routes} == {2048}


def test_50_an_error_answer_has_code_type_and_message() -> None:
    answer = BATCH.refuse(Refused(MALFORMED, "must be short", path="$[1].events[0].name"))
    assert (answer.status, answer.headers) == (400, [("content-type", "application/json")])
    assert answer.body == b'{"code":31,"type":"MALFORMED_PARAMETER","message":"[1].events[0].name: must be short"}'
    assert json.loads(BATCH.refuse(Refused(ROUTE, "no such route")).body)["message"] == "no such route"


def test_line_breaks_between_tokens_become_spaces_so_that_a_record_stays_one_line() -> None:
    pretty = json.dumps(PAGE_SINGLE, indent=1).replace("\n", "\r\n").encode()
    decoded = deliver(pretty)
    assert encode_lines(decoded.records).count(b"\n") == len(decoded.records) == 1
    assert records(pretty)[0].dates


def test_the_limit_of_an_event_s_name_is_a_setting() -> None:
    strict = dialect(batch_event_name_chars_max=30)
    assert record({"name": "ue." + "X" * 30}, strict).name == "ue." + "x" * 30
    assert refusal({"events": [{"name": "ue." + "x" * 31}]}, batch=strict).fault == MALFORMED


def test_the_public_client_s_single_fixture_is_accepted() -> None:
    assert json.loads(bytes(record(DEPOSIT).properties)) == {"deposit_type": "GRANT_17_18", "deposit_amount": 150}


def settled(body: bytes, path: str, batch: Batch) -> None:
    """The body is decoded, or refused in the vendor's form."""
    try:
        encode_lines(deliver(body, path, batch=batch).records)
    except Refused as refused:
        answer = batch.refuse(refused)
        error = json.loads(answer.body)
        assert answer.status == 400
        assert {name: type(value) for name, value in error.items()} == {"code": int, "type": str, "message": str}


STRICT = dialect("reject", batch_events_max=3)
ENDPOINTS = st.tuples(st.sampled_from([SINGLE, BULK]), st.sampled_from([BATCH, STRICT]))
ALMOST_EVENT = st.fixed_dictionaries(
    {"name": st.just("ue.x") | SCALARS},
    optional={
        "time": st.sampled_from([TIME, "2024-05-31T22:30:05"]) | ANYTHING,
        "label": st.text() | ANYTHING,
        "attributes": st.dictionaries(MEMBERS | st.text(), SCALARS) | ANYTHING,
        "tags": st.lists(st.text()) | ANYTHING,
    },
)
ALMOST_SINGLE = st.fixed_dictionaries({"events": st.lists(ALMOST_EVENT | ANYTHING, max_size=4)})
ALMOST_BULK = st.lists(
    st.fixed_dictionaries({"id": st.text(), "events": st.lists(ALMOST_EVENT, max_size=3)}) | ANYTHING, max_size=3
)


@settings(deadline=None)
@given(st.binary(), ENDPOINTS)
def test_any_bytes_are_decoded_or_refused(body: bytes, endpoint: tuple[str, Batch]) -> None:
    settled(body, *endpoint)


@settings(deadline=None)
@given(ANYTHING | ALMOST_SINGLE | ALMOST_BULK, ENDPOINTS, st.booleans())
@example([{"id": "v", "events": [{"name": "ue.x", "attributes": {"date(x)": 10**400}}]}], (BULK, BATCH), True)
def test_any_json_is_decoded_or_refused(body: Any, endpoint: tuple[str, Batch], escaped: bool) -> None:
    settled(json.dumps(body, ensure_ascii=escaped).encode(errors="replace"), *endpoint)


@settings(deadline=None)
@given(USERS, st.booleans())
def test_the_records_of_a_good_request_hold_the_events_as_sent(users: Any, escaped: bool) -> None:
    sent = [(id, event) for id, events in users for event in events]
    items = [{"id": id, "events": events} for id, events in users]
    found = records(json.dumps(items, ensure_ascii=escaped).encode(errors="replace"), BULK)
    assert len(found) == len(sent)
    for record, (id, event) in zip(found, sent, strict=True):
        text = json.dumps(event, ensure_ascii=escaped).encode(errors="replace")
        assert (record.user_id, payload(record), record.name) == (id, text, event["name"].lower())
        plain = {re.sub(r"^date\((.*)\)$", r"\1", key): value for key, value in event.get("attributes", {}).items()}
        assert json.loads(bytes(record.properties)) == plain
        assert set(record.dates or ()) == {key for key in plain if key.startswith("d")}
        assert set(record.tags or ()) == {tag.lower() for tag in event.get("tags", [])}


@settings(deadline=None)
@given(EVENTS)
def test_an_event_that_has_to_be_read_slowly_becomes_the_same_record(event: dict[str, Any]) -> None:
    text = json.dumps(event).encode()
    slow, fast = record(b'{"name":5,' + text[1:]), record(text)
    slow.payload = fast.payload
    assert slow == fast
