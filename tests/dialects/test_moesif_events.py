"""Moesif's actions and API calls as records: every member, and what real clients do otherwise.

Numbers are those of the checklist in contracts/moesif.md, section 6.
"""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import Raw

from catchment.record import EventRecord
from tests.dialects.moesif_calls import (
    ACTION,
    CALL,
    NOON,
    NOW,
    NOW_US,
    PEER,
    action,
    api_call,
    events,
    fault,
    payload,
    payload_text,
)


class TestAction:
    def test_a_full_one_becomes_a_record_with_every_member(self) -> None:
        sent = {
            "action_name": "Clicked Sign Up",
            "transaction_id": "t-1",
            "user_id": "12345",
            "company_id": "67890",
            "subscription_id": "s-1",
            "weight": 5,
            "request": {
                "time": NOON,
                "uri": "https://acmeinc.com/pricing",
                "verb": "GET",
                "ip_address": "69.48.220.123",
                "user_agent_string": "Mozilla/5.0",
            },
            "metadata": {"button_label": "Get Started"},
        }
        (only,) = events("/v1/actions", sent, headers={"user-agent": "curl/8"})
        assert only == EventRecord(
            app="shop",
            source="moesif",
            kind="action",
            event_id="t-1",
            received_us=NOW_US,
            payload=Raw(json.dumps(sent).encode()),
            ip="69.48.220.123",
            user_agent="Mozilla/5.0",
            name="Clicked Sign Up",
            time=datetime(2026, 1, 2, 11, 59, 0, 678_000, tzinfo=UTC),
            user_id="12345",
            company_id="67890",
            subscription_id="s-1",
            uri="https://acmeinc.com/pricing",
            weight=5,
            properties=Raw(b'{"button_label": "Get Started"}'),
            verb="GET",
        )

    def test_10_21_what_it_does_not_say_is_the_calls(self) -> None:
        (first, second) = events(
            "/v1/actions/batch", [{"action_name": "A", "request": {}}] * 2, headers={"user-agent": "UA/1"}
        )
        assert (first.time, first.ip, first.user_agent, first.undated) == (NOW, PEER, "UA/1", False)
        assert (first.event_id, second.event_id) == ("id-1", "id-2")
        assert (first.received_us, second.received_us) == (NOW_US, NOW_US + 1)

    def test_11_an_id_without_a_time_is_marked_so(self) -> None:
        assert action({"transaction_id": "t"}).undated
        assert not action({"transaction_id": "t", "request": {"time": NOON}}).undated

    def test_8_every_null_is_not_given(self) -> None:
        names = ("transaction_id", "session_token", "user_id", "anonymous_id", "company_id", "weight", "metadata")
        request = dict.fromkeys(("time", "uri", "verb", "ip_address", "user_agent_string"))
        (only,) = events("/v1/actions", {"action_name": "A", "request": request} | dict.fromkeys(names))
        (bare,) = events("/v1/actions", {"action_name": "A", "request": {}})
        only.payload = bare.payload
        assert only == bare

    @pytest.mark.parametrize("headers", [["authorization"], {"Authorization": 7}, None, "x", {"cookie": {"a": ["b"]}}])
    def test_it_may_carry_anything_where_an_api_call_has_its_headers(self, headers: Any) -> None:
        only = action({"request": {"headers": headers}, "response": [1], "span": None})
        assert payload(only)["request"].keys() == {"headers"}

    def test_32_what_has_no_column_is_kept_in_the_payload_as_it_was_sent(self) -> None:
        text = b'{"x" : [1e2, 1.50], "action_name":"A","request":{"y":{}},"metadata":{"n":12345678901234567890}}'
        (only,) = events("/v1/actions", text)
        assert payload_text(only) == text
        assert bytes(only.properties) == b'{"n":12345678901234567890}'


class TestWeight:
    @pytest.mark.parametrize(
        ("given", "weight"),
        [(None, 1), (0, 1), (0.0, 1), (1, 1), (10, 10), (10.0, 10), (2**32 - 1, 2**32 - 1)],
    )
    def test_18_absent_null_and_zero_count_as_one(self, given: Any, weight: int) -> None:
        assert action({}).weight == 1
        assert action({"weight": given}).weight == weight
        assert api_call({"weight": given}).weight == weight

    @pytest.mark.parametrize("given", [-1, 1.5, 2**32, 1e300, -1e300])
    def test_anything_else_is_refused(self, given: Any) -> None:
        assert fault("/v1/actions", ACTION | {"weight": given}) == (400, "invalid_field", "$.weight")
        assert fault("/v1/events/batch", [CALL, CALL | {"weight": given}]) == (400, "invalid_field", "$[1].weight")

    @pytest.mark.parametrize("given", [True, "5", [], {}])
    def test_only_numbers_are_weights(self, given: Any) -> None:
        assert fault("/v1/actions", ACTION | {"weight": given}) == (400, "invalid_field", "$.weight")


class TestApiCall:
    def test_a_full_one_becomes_a_record_with_every_member(self) -> None:
        sent = {
            "request": {
                "time": "2026-01-02T11:59:00.500Z",
                "uri": "https://api.acme.com/items/1?x=1#y",
                "verb": "POST",
                "headers": {"Host": "api.acme.com", "USER-AGENT": "UA/2"},
                "api_version": "1.0",
                "ip_address": "::ffff:127.0.0.1",
                "body": {"a": 1},
                "transfer_encoding": "json",
                "content_length": 7,
            },
            "response": {
                "time": "2026-01-02T11:59:00.750Z",
                "status": 599,
                "headers": {"content-length": 2, "x": ["a", "b"], "y": None},
                "body": "aGk=",
                "transfer_encoding": "base64",
                "ip_address": None,
            },
            "transaction_id": "t",
            "user_id": "u",
            "company_id": "c",
            "subscription_id": "s",
            "anonymous_id": "a",
            "direction": "Incoming",
            "weight": 2,
            "blocked_by": "rule",
            "tags": "tag1, tag2,,",
            "metadata": {"k": "v"},
            "action_name": "Get Items",
            "trace_id": "tr",
            "span": {"id": "1", "links": []},
            "context": {"user": {}},
        }
        (only,) = events("/v1/events", sent, headers={"user-agent": "moesifapi-nodejs/3"})
        assert only == EventRecord(
            app="shop",
            source="moesif",
            kind="api_call",
            event_id="t",
            received_us=NOW_US,
            payload=Raw(json.dumps(sent).encode()),
            ip="::ffff:127.0.0.1",
            user_agent="UA/2",
            name="POST /items/1",
            time=datetime(2026, 1, 2, 11, 59, 0, 500_000, tzinfo=UTC),
            user_id="u",
            company_id="c",
            subscription_id="s",
            anonymous_id="a",
            uri="https://api.acme.com/items/1?x=1#y",
            weight=2,
            properties=Raw(b'{"k": "v"}'),
            tags=["tag1", "tag2"],
            label="Get Items",
            verb="POST",
            status=599,
            duration_ms=250.0,
            response_time=datetime(2026, 1, 2, 11, 59, 0, 750_000, tzinfo=UTC),
            request_headers=Raw(b'{"Host":"api.acme.com","USER-AGENT":"UA/2"}'),
            request_body=Raw(b'{"a": 1}'),
            request_encoding="json",
            response_headers=Raw(b'{"content-length":2,"x":["a","b"],"y":null}'),
            response_body=Raw(b'"aGk="'),
            response_encoding="base64",
            direction="Incoming",
            api_version="1.0",
            blocked_by="rule",
        )

    @pytest.mark.parametrize(
        "response",
        [
            None,
            {},
            {
                "time": None,
                "status": None,
                "headers": None,
                "body": None,
                "ip_address": None,
                "transfer_encoding": None,
            },
            {"time": None, "status": 0, "headers": None, "body": None},
        ],
        ids=["null", "empty", "node", "go"],
    )
    def test_9_a_response_of_nulls_is_no_response(self, response: Any) -> None:
        only = api_call({"response": response})
        assert (only.status, only.response_time, only.duration_ms) == (None, None, None)
        assert (only.response_headers, only.response_body) == (None, None)

    @pytest.mark.parametrize(
        ("uri", "name"),
        [
            ("https://a.b/c/d?e=f", "GET /c/d"),
            ("https://a.b", "GET /"),
            ("https://a.b?x=https://c", "GET /"),
            ("/p?a=1", "GET /p"),
            ("/apphttp://h/p", "GET /p"),
            ("", "GET /"),
        ],
    )
    def test_22_a_uri_may_be_a_path_only(self, uri: str, name: str) -> None:
        only = api_call({}, request={"uri": uri})
        assert (only.uri, only.name) == (uri, name)

    @pytest.mark.parametrize("tags", [None, "", " ", ",,"])
    def test_19_no_tags_are_none(self, tags: Any) -> None:
        assert not api_call({"tags": tags}).tags

    @pytest.mark.parametrize("headers", [None, {}, {"a": None, "b": ["c", 1], "d": 2, "": {}}])
    def test_17_headers_may_be_null_arrays_and_numbers(self, headers: Any) -> None:
        only = api_call({"response": {"status": 200, "headers": headers}}, request={"headers": headers})
        stored = None if headers is None else headers
        assert json.loads(bytes(only.request_headers or b"null")) == stored
        assert json.loads(bytes(only.response_headers or b"null")) == stored

    def test_17_headers_may_be_left_out(self) -> None:
        request = {name: value for name, value in CALL["request"].items() if name != "headers"}
        (only,) = events("/v1/events", {"request": request})
        assert only.request_headers is None

    @pytest.mark.parametrize("encoding", [None, "", "json", "base64"])
    @pytest.mark.parametrize("body", [{"a": 1}, [1], "text", 5, 0, False, "aGVs\nbG8=\n", None])
    def test_17_a_body_may_be_any_value(self, body: Any, encoding: Any) -> None:
        only = api_call({}, request={"body": body, "transfer_encoding": encoding})
        assert json.loads(bytes(only.request_body or b"null")) == body
        assert only.request_encoding == (encoding or None)

    @pytest.mark.parametrize("name", ["User-Agent", "user-agent", "USER-AGENT"])
    @pytest.mark.parametrize("value", ["UA/1", ["UA/1", "UA/2"]])
    def test_21_the_user_agent_is_the_captured_one(self, name: str, value: Any) -> None:
        only = api_call({}, request={"headers": {name: value}}, headers={"user-agent": "moesifapi-python/1"})
        assert only.user_agent == "UA/1"
        assert api_call({}, headers={"user-agent": "moesifapi-python/1"}).user_agent is None

    def test_21_its_address_is_the_callers_unless_told(self) -> None:
        assert api_call({}).ip == PEER
        assert api_call({}, request={"ip_address": "testclient"}).ip == "testclient"

    def test_a_zone_is_written_out_where_only_one_of_two_times_has_one(self) -> None:
        response = {"time": "2026-01-02T11:00:01", "status": 200}
        only = api_call({"response": response}, request={"time": "2026-01-02T11:00:00Z"})
        assert only.duration_ms == 1000.0
