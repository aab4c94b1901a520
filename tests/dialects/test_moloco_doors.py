"""Moloco's second and third doors (contracts/moloco.md 6.49, 6.50), keys that expire (6.2), and who it was (4.1)."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catchment.dialects.dialect import NOBODY, Answer, Call, Caller
from catchment.dialects.moloco import Moloco
from catchment.errors import Refused
from catchment.record import EventRecord, encode_lines
from catchment.settings import App, Limits, MolocoApp
from tests.dialects.moloco_calls import (
    ABSENT,
    APPS,
    EVENT_MS,
    EVENT_TIME,
    LATEST_MS,
    MOLOCO,
    PLATFORM,
    RECEIVED_AT,
    a_call,
    an_arrival,
    an_event,
    body_of,
    cases,
    payload_of,
    properties_of,
    record_of,
)

SEGMENT = Call("POST", "/cdp/SEGMENT", "", {"x-api-key": "key-1", "x-platform-id": PLATFORM}, "192.0.2.7", {})


def through_segment(event: Any) -> EventRecord:
    decoded = MOLOCO.decode("segment", SEGMENT, MOLOCO.authenticate(SEGMENT), body_of(event), an_arrival())
    assert decoded.answer == Answer(200, [("content-type", "application/json")], b"{}")
    (record,) = decoded.records
    assert isinstance(record, EventRecord)
    return record


# -- the second door --------------------------------------------------------------------------------------------------


def test_the_second_door_is_one_path_with_the_platform_in_a_header() -> None:  # 49
    (route,) = [route for route in MOLOCO.routes if route.endpoint == "segment"]
    assert (route.method, route.literals, route.open) == ("POST", ("/cdp/SEGMENT",), False)
    assert route.pattern.match("/cdp/SEGMENT")
    assert not route.pattern.match("/cdp/SEGMENT/")
    assert MOLOCO.authenticate(SEGMENT).app == "shop"


@cases(
    "headers, status, code",
    ("49-no-key", {"x-platform-id": PLATFORM}, 401, 16),
    ("49-unknown-key", {"x-api-key": "x", "x-platform-id": PLATFORM}, 403, 7),
    ("49-key-of-another-platform", {"x-api-key": "key-other", "x-platform-id": PLATFORM}, 403, 7),
    ("49-unknown-key-without-platform", {"x-api-key": "x"}, 403, 7),
    ("49-no-platform", {"x-api-key": "key-1"}, 404, 5),
    ("49-unknown-platform", {"x-api-key": "key-1", "x-platform-id": "NOWHERE"}, 404, 5),
)
def test_who_may_not_call_the_second_door_is_refused(headers: dict[str, str], status: int, code: int) -> None:
    with pytest.raises(Refused) as caught:
        MOLOCO.authenticate(SEGMENT._replace(headers=headers))
    assert caught.value.fault[:2] == (status, code)


@cases(
    "timestamp, time",
    ("49-Z", "2024-02-05T23:37:42.848Z", datetime(2024, 2, 5, 23, 37, 42, 848000, UTC)),
    ("49-no-fraction", "2024-02-05T23:37:42Z", datetime(2024, 2, 5, 23, 37, 42, 0, UTC)),
    ("49-cut-to-milliseconds", "2024-02-05T23:37:42.848999999Z", datetime(2024, 2, 5, 23, 37, 42, 848000, UTC)),
    ("49-offset", "2024-02-06T08:37:42.848+09:00", datetime(2024, 2, 5, 23, 37, 42, 848000, UTC)),
    ("49-small-letters", "2024-02-05t23:37:42.848z", datetime(2024, 2, 5, 23, 37, 42, 848000, UTC)),
    ("49-number", EVENT_MS, EVENT_TIME),
    ("49-text", str(EVENT_MS), EVENT_TIME),
)
def test_the_second_door_takes_rfc_3339_and_milliseconds(timestamp: Any, time: datetime) -> None:
    record = through_segment(an_event(timestamp=timestamp))
    assert (record.time, record.platform) == (time, PLATFORM)


@cases(
    "timestamp",
    *(
        (f"49-{value!r}", value)
        for value in (
            *("2024-02-05", "2024-02-05T23:37:42.848", "2024-02-30T00:00:00Z", "2024-02-05T24:01:00Z", "soon", 1.5),
            *("2024-02-05T23:37:42+25:00", "1960-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "2999-01-01T00:00:00Z"),
        )
    ),
)
def test_another_time_through_the_second_door_is_refused(timestamp: Any) -> None:
    with pytest.raises(Refused, match="invalid timestamp"):
        through_segment(an_event(timestamp=timestamp))


def test_an_event_through_either_door_is_the_same_event() -> None:
    event = an_event("PURCHASE", id="order-1")
    assert through_segment(event) == record_of(event)


# -- the third door ---------------------------------------------------------------------------------------------------


def a_touch(query: str, *, letter: str = "c", method: str = "GET", platform: str = PLATFORM) -> Call:
    path = f"/t/{letter}/{platform}"
    return Call(method, path, query, {"user-agent": "browser"}, "192.0.2.7", {"platform": platform})


def touched(query: str, endpoint: str = "click", **changes: str) -> EventRecord:
    letter = {"click": "c", "impression": "i"}[endpoint]
    decoded = MOLOCO.decode(endpoint, a_touch(query, letter=letter, **changes), NOBODY, b"", an_arrival())
    assert decoded.answer.status == 200
    (record,) = decoded.records
    assert isinstance(record, EventRecord)
    encode_lines([record])
    return record


def refused_touch(query: str, moloco: Any = MOLOCO, platform: str = PLATFORM) -> Refused:
    with pytest.raises(Refused) as caught:
        moloco.decode("click", a_touch(query, platform=platform), NOBODY, b"", an_arrival())
    return caught.value


@cases("path, endpoint", ("50-i", f"/t/i/{PLATFORM}", "impression"), ("50-c", f"/t/c/{PLATFORM}", "click"))
def test_a_tracker_is_called_by_get_or_post_without_a_key(path: str, endpoint: str) -> None:
    found = [route for route in MOLOCO.routes if route.pattern.match(path)]
    assert [(route.method, route.endpoint, route.open) for route in found] == [
        ("GET", endpoint, True),
        ("POST", endpoint, True),
    ]
    assert {route.body_bytes_max for route in found} == {1024}


@cases("path", *((f"50-{path}", path) for path in ("/t/i", "/t/i/", "/t/i/P/", "/t/i/P/Q", "/t/x/P")))
def test_another_path_is_no_tracker(path: str) -> None:
    assert not any(route.pattern.match(path) for route in MOLOCO.routes)


def test_a_tracker_call_is_answered_with_nothing_that_leads_anywhere() -> None:  # 50
    decoded = MOLOCO.decode("click", a_touch("source=s&url=https://evil.example"), NOBODY, b"", an_arrival())
    assert decoded.answer == Answer(200, [("cache-control", "no-store"), ("access-control-allow-origin", "*")], b"")


def test_a_click_of_an_unaltered_url_is_an_event_of_its_source() -> None:  # 50
    record = touched("source=abc%2F1")
    assert record == EventRecord(
        app="shop",
        source="moloco",
        kind="event",
        event_id="CLICK:abc/1",
        received_us=record.received_us,
        payload=record.payload,
        ip="192.0.2.7",
        user_agent="browser",
        name="CLICK",
        time=RECEIVED_AT,
        undated=True,
        platform=PLATFORM,
        decision_track_id="abc/1",
    )
    assert json.loads(payload_of(record)) == {"method": "GET", "path": f"/t/c/{PLATFORM}", "query": "source=abc%2F1"}


def test_an_impression_and_a_click_of_one_source_are_two_events() -> None:  # 50
    assert {touched("source=s", endpoint).event_id for endpoint in ("click", "impression")} == {
        "CLICK:s",
        "IMPRESSION:s",
    }
    assert touched("source=s", method="POST").event_id == "CLICK:s"


def test_what_was_added_to_a_trackers_url_has_its_columns() -> None:
    record = touched(
        f"source=s&user_id=u&persistent_id=p&custom_id=c&session_id=x&decision_track_id=t&timestamp={EVENT_MS}"
        "&item_id=sku+1&item_group_id=g&seller_id=v&campaign_id=k%C3%A9&empty="
    )
    assert (record.user_id, record.device_id, record.anonymous_id, record.identity) == ("u", "p", "c", None)
    assert (record.decision_track_id, record.time, record.undated) == ("t", EVENT_TIME, True)
    assert [(item.id, item.item_group_id, item.seller_id) for item in record.items or ()] == [("sku 1", "g", "v")]
    assert properties_of(record) == {"session_id": "x", "campaign_id": "ké"}


@cases(
    "query, reason",
    ("50-nothing", "", "missing source"),
    ("50-empty", "source=&user_id=u", "missing source"),
    ("50-another", "sauce=s", "missing source"),
    ("50-not-utf-8", "source=%FF", "query is not valid UTF-8"),
    ("50-lone-surrogate", "source=\udcff", "query is not valid UTF-8"),
    ("50-long", "source=" + "s" * 8186, "query exceeds 8192 characters"),
    ("50-many", "source=s" + "&a=1" * 32, "query has more than 32 parameters"),
    ("50-id", "source=s&custom_id=" + "x" * 129, "custom_id exceeds 128 characters"),
    ("50-timestamp", "source=s&timestamp=soon", "invalid timestamp"),
    ("50-future", f"source=s&timestamp={LATEST_MS + 1}", "invalid timestamp"),
    ("50-zero", "source=s&timestamp=0", "invalid timestamp"),
)
def test_a_tracker_call_that_does_not_do_is_refused(query: str, reason: str) -> None:
    refused = refused_touch(query)
    assert (refused.fault[:2], refused.reason) == ((400, 3), reason)


def test_a_tracker_of_no_platform_or_of_one_that_has_none_is_not_found() -> None:
    without = Moloco({"shop": App(moloco=MolocoApp(platforms={PLATFORM: ["k"]}, trackers=False))}, Limits())
    for refused in (refused_touch("source=s", platform="NOWHERE"), refused_touch("source=s", without)):
        assert refused.fault[:2] == (404, 5)


@given(st.text(max_size=60))
def test_any_query_is_decoded_or_refused(query: str) -> None:
    for text in (query, "source=s&" + query):
        try:
            touched(text)
        except Refused as refused:
            answer = MOLOCO.refuse(refused)
        else:
            continue
        assert answer.status == 400


# -- keys that expire -------------------------------------------------------------------------------------------------


def expiring(at: datetime) -> Moloco:
    key = {"platform": PLATFORM, "key": "soon-gone", "expires_at": at}
    rules = MolocoApp.model_validate({"platforms": {PLATFORM: ["key-1"]}, "expiring_keys": [key]})
    return Moloco({"shop": App(moloco=rules)}, Limits())


@cases(
    "left, body, fault",
    ("2-a-second-left", timedelta(seconds=1), an_event(), None),
    ("17-expired-now", timedelta(0), an_event(), (403, 7)),
    ("21-expired-and-no-JSON", timedelta(days=-1), b"{", (403, 7)),
)
def test_a_key_opens_its_platform_until_it_expires(left: timedelta, body: Any, fault: tuple[int, int] | None) -> None:
    moloco = expiring(RECEIVED_AT + left)
    call = a_call(x_api_key="soon-gone")
    caller = moloco.authenticate(call)
    if fault is None:
        assert moloco.decode("user_event", call, caller, body_of(body), an_arrival()).records
        return
    with pytest.raises(Refused) as caught:
        moloco.decode("user_event", call, caller, body_of(body), an_arrival())
    assert caught.value.fault[:2] == fault
    assert "expired" in caught.value.reason
    assert moloco.decode("user_event", call, moloco.authenticate(a_call(x_api_key="key-1")), HOME, an_arrival()).records


HOME = body_of(an_event())


@cases(
    "key, problem",
    ("unknown-platform", {"platform": "X", "key": "k"}, "expiring_keys.0.platform is not among platforms"),
    ("lasting-too", {"platform": "P", "key": "p"}, "expiring_keys.0.key is in platforms too, and would never expire"),
)
def test_an_expiring_key_that_makes_no_sense_is_a_mistake(key: dict[str, str], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        MolocoApp.model_validate(
            {"platforms": {"P": ["p"]}, "expiring_keys": [key | {"expires_at": "2027-01-01T00:00:00Z"}]}
        )


# -- who it was -------------------------------------------------------------------------------------------------------

EVERY_ID: dict[str, Any] = {
    "user_id": "u",
    "persistent_id": "p",
    "custom_id": "c",
    "unique_device_id": "q",
    "advertising_id": "a-1",
    "session_id": "s",
}


@cases("missing, identity", *((f"{count} missing", count, value) for count, value in enumerate(EVERY_ID.values())))
def test_the_first_identifier_by_the_vendors_precedence_is_the_identity(missing: int, identity: str) -> None:
    ids = dict(list(EVERY_ID.items())[missing:])
    device = {name: ids.pop(name) for name in ("persistent_id", "unique_device_id", "advertising_id") if name in ids}
    record = record_of(an_event(**({"user_id": ABSENT} | ids), device=device))
    assert (record.identity or record.user_id) == identity
    touch = touched("source=s&" + "&".join(f"{name}={value}" for name, value in [*ids.items(), *device.items()]))
    assert (touch.identity or touch.user_id) == identity


def test_zeros_and_nobody_have_no_identity() -> None:
    zeros = {"advertising_id": "00000000-0000-0000-0000-000000000000"}
    record = record_of(an_event(user_id=ABSENT, personalization_mode="ID_LESS", device=zeros))
    assert (record.identity, record.user_id, record.device_id) == (None, None, None)


# -- limits that no document is sure of -------------------------------------------------------------------------------


def test_an_id_may_be_longer_than_documented_unless_the_setting_says_so() -> None:  # 39
    call = a_call(x_api_key="key-1")
    body = body_of(an_event(custom_id="x" * 1024))
    loose = Moloco(APPS, Limits())
    assert loose.decode("user_event", call, loose.authenticate(call), body, an_arrival()).records
    caller: Caller = loose.authenticate(call)
    with pytest.raises(Refused, match="custom_id exceeds 1024 characters"):
        loose.decode("user_event", call, caller, body_of(an_event(custom_id="x" * 1025)), an_arrival())


def test_too_many_calls_are_told_in_the_gateways_form() -> None:  # 44
    answer = MOLOCO.refuse(Refused(MOLOCO.faults.too_many, "too many requests"))
    assert answer.status == 429
    assert json.loads(answer.body) == {"code": 8, "message": "too many requests", "details": []}
