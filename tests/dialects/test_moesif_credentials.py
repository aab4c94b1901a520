"""Session tokens and credential headers: found, joined, and never stored (contracts/moesif.md 3.2; 6.16)."""

import json
from typing import Any

import pytest

from catchment.dialects.moesif import Moesif
from catchment.record import EventRecord, ProfileRecord, encode_lines
from tests.dialects.moesif_calls import (
    ACTION,
    CALL,
    COMPANY,
    HASHED,
    MOESIF,
    NOON,
    OTHER_ID,
    SUBSCRIPTION,
    USER,
    action,
    api_call,
    call,
    events,
    leaves,
    moesif,
    payload,
    payload_text,
    profile,
)

PLAIN = moesif(plain=True)


class TestSessionTokens:
    @pytest.mark.parametrize("name", ["session_token", "sessionToken"])
    @pytest.mark.parametrize("token", ["abc", "Bearer abc", "bearer   abc", "TOKEN abc", "Basic abc", "ApiKey\tabc"])
    def test_one_is_the_same_wherever_it_was_given(self, name: str, token: str) -> None:
        sent = {name: token}
        records: list[EventRecord | ProfileRecord] = [action(sent), api_call(sent)]
        records += [profile("users", USER | sent), profile("companies", COMPANY | sent)]
        assert {record.session_token for record in records} == {HASHED("abc")}
        for record in records:
            assert payload(record)[name] == HASHED("abc")

    @pytest.mark.parametrize("token", ["Bearer", "Bearer ", "Bearerabc", "Digest abc", "a b", "abc"])
    def test_only_a_scheme_word_before_something_is_left_out(self, token: str) -> None:
        assert action({"session_token": token}).session_token == HASHED(token)

    @pytest.mark.parametrize("token", [None, ""])
    def test_an_empty_one_is_none(self, token: Any) -> None:
        records = [action({"session_token": token}), api_call({"session_token": token})]
        assert [record.session_token for record in records] == [None, None]
        assert profile("users", USER | {"session_token": token}).session_token is None

    @pytest.mark.parametrize(
        "twice",
        [
            '"session_token":"top","session_token":null',
            '"sessionToken":"top","sessionToken":null',
            '"session_token":"top","sessionToken":null',
            '"session\\u005ftoken":"top"',
        ],
    )
    @pytest.mark.parametrize("path", ["actions", "events", "users", "companies", "subscriptions"])
    def test_one_does_not_hide_behind_another(self, path: str, twice: str) -> None:
        element = {"actions": ACTION, "events": CALL, "users": USER, "companies": COMPANY}.get(path, SUBSCRIPTION)
        body = b"{%b,%b" % (twice.encode(), json.dumps(element).encode()[1:])
        assert b'"top"' not in encode_lines(call(f"/v1/{path}", body).records)

    def test_an_element_without_one_is_stored_as_sent_beside_one_with_one(self) -> None:
        body = (
            b'[{"action_name":"A","request":{}, "n":1e2},{"action_name":"A","request":{},"session_token":"s", "n":1e2}]'
        )
        first, second = events("/v1/actions/batch", body)
        assert payload_text(first) == b'{"action_name":"A","request":{}, "n":1e2}'
        assert payload_text(second) == (
            b'{"action_name":"A","request":{},"session_token":"%b","n":1e2}' % HASHED("s").encode()
        )


class TestHeaders:
    def test_the_session_is_found_in_a_header_where_it_was_not_given(self) -> None:
        found = api_call({}, request={"headers": {"AUTHORIZATION": "Bearer abc"}})
        assert found.session_token == HASHED("abc")
        assert api_call({"session_token": None}, request={"headers": {"x-api-key": "abc"}}).session_token == HASHED(
            "abc"
        )
        both = api_call({"session_token": "given"}, request={"headers": {"Authorization": "abc"}})
        assert both.session_token == HASHED("given")

    @pytest.mark.parametrize(
        ("headers", "session"),
        [
            ({"x-auth-token": "c", "X-Api-Key": "b", "authorization": "a"}, "a"),
            ({"x-auth-token": "c", "X-Api-Key": "b"}, "b"),
            ({"x-auth-token": "c", "X-Api-Key": "", "authorization": None}, "c"),
            ({"authorization": ["a", "b"]}, "a"),
            ({"authorization": [None, "", "b"]}, "b"),
            ({"authorization": []}, None),
            ({"authorization": {"a": "b"}}, None),
            ({"cookie": "a=b", "set-cookie": "c"}, None),
            ({}, None),
            (None, None),
        ],
    )
    def test_the_first_that_is_there_counts(self, headers: Any, session: str | None) -> None:
        found = api_call({}, request={"headers": headers}).session_token
        assert found == (None if session is None else HASHED(session))

    def test_which_headers_is_a_setting_of_the_application(self) -> None:
        dialect = moesif(session_headers=["X-Session", "cookie"])
        headers = {"Authorization": "Bearer a", "Cookie": "c", "x-session": "s"}
        only = api_call({}, request={"headers": headers}, dialect=dialect)
        assert only.session_token == HASHED("s")
        assert payload(only)["request"]["headers"]["x-session"] == HASHED("s")
        assert api_call({}, request={"headers": headers}, key=OTHER_ID, dialect=dialect).session_token == HASHED("a")

    def test_none_is_found_where_none_are_looked_at(self) -> None:
        only = api_call({}, request={"headers": {"Authorization": "Bearer a"}}, dialect=moesif(session_headers=[]))
        assert only.session_token is None
        assert payload(only)["request"]["headers"]["Authorization"] == "Bearer " + HASHED("a")

    def test_a_response_has_no_session(self) -> None:
        response = {"status": 200, "time": NOON, "headers": {"x-auth-token": "a"}}
        only = api_call({"response": response})
        assert only.session_token is None
        assert b'"a"' not in payload_text(only)

    def test_what_counts_as_no_response_is_looked_through_too(self) -> None:
        only = api_call({"response": {"status": 0, "headers": {"set-cookie": "top"}}})
        assert b"top" not in payload_text(only)
        assert only.response_headers is None

    @pytest.mark.parametrize("name", ["Authorization", "proxy-authorization"])
    @pytest.mark.parametrize("scheme", ["Bearer ", "basic  ", "Token ", ""])
    def test_an_authorization_keeps_its_scheme_before_the_sessions_hash(self, name: str, scheme: str) -> None:
        only = api_call({}, request={"headers": {name: scheme + "abc", "Accept": "*/*"}})
        expected = {name: scheme + HASHED("abc"), "Accept": "*/*"}
        assert payload(only)["request"]["headers"] == json.loads(bytes(only.request_headers or b"")) == expected

    def test_of_other_credential_headers_the_whole_value_is_hashed(self) -> None:
        headers = {"Cookie": "Bearer a", "SET-COOKIE": ["a=1", None, 5], "X-Api-Key": 7, "x-csrf": "plain"}
        only = api_call({}, request={"headers": headers})
        assert payload(only)["request"]["headers"] == {
            "Cookie": HASHED("Bearer a"),
            "SET-COOKIE": [HASHED("a=1"), None, HASHED("5")],
            "X-Api-Key": HASHED("7"),
            "x-csrf": "plain",
        }

    def test_both_sides_are_looked_through_and_everything_else_is_as_sent(self) -> None:
        text = (
            b'{"request": {"time": "2026-01-02T11:00:00Z", "uri": "u", "verb": "GET", "headers": {"cookie": "top"},'
            b' "body": {"n" : 1e2}}, "response": {"status": 200, "headers": {"set-cookie": "top"}, "body": 1.50}}'
        )
        (only,) = events("/v1/events", text)
        stored = payload_text(only)
        assert b"top" not in stored + bytes(only.request_headers or b"") + bytes(only.response_headers or b"")
        assert b'"body":{"n" : 1e2}' in stored
        assert b'"body":1.50' in stored

    @pytest.mark.parametrize("path", ["actions", "users", "companies", "subscriptions"])
    def test_what_should_have_no_headers_may_have_them(self, path: str) -> None:
        element = {"actions": ACTION, "users": USER, "companies": COMPANY}.get(path, SUBSCRIPTION)
        sides = {"request": {"headers": {"cookie": "top"}}, "response": {"headers": {"Cookie": "top"}}}
        assert b'"top"' not in encode_lines(call(f"/v1/{path}", element | sides).records)


class TestRefusedBodies:
    @pytest.mark.parametrize("cut", [0, 1, 3])
    def test_its_credentials_are_replaced_as_far_as_they_can_be_told(self, cut: int) -> None:
        headers = {"Authorization": "Bearer top", "Set-Cookie": ["a=top", "b"], "X-Auth-Token": "top", "Accept": "x"}
        body = json.dumps({"session_token": "top", "sessionToken": "Token top", "request": {"headers": headers}})
        concealed = MOESIF.conceal(body[: len(body) - cut].encode()).decode()
        assert "top" not in concealed
        assert concealed.count(HASHED("top")) == 4
        assert '"Accept": "x' in concealed

    def test_a_token_has_the_hash_that_it_has_in_an_accepted_body(self) -> None:
        for name, value in (("session_token", "Bearer abc"), ("sessionToken", "abc"), ("Authorization", "Bearer abc")):
            concealed = json.loads(MOESIF.conceal(json.dumps({name: value}).encode()))
            assert concealed == {name: action({"session_token": "abc"}).session_token}

    def test_the_session_headers_of_every_application_are_credentials_there(self) -> None:
        dialect = moesif(session_headers=["X-Session"])
        assert b"top" not in dialect.conceal(b'{"x-session":"top","x-auth-token":"top"}')


class TestPlain:
    @pytest.fixture
    def dialect(self) -> Moesif:
        return PLAIN

    def test_payloads_are_as_sent(self, dialect: Moesif) -> None:
        headers = {"Authorization": "Bearer abc", "Cookie": "c"}
        sent = CALL | {"session_token": "Bearer abc", "request": CALL["request"] | {"headers": headers}}
        (only,) = events("/v1/events", sent, dialect=dialect)
        assert payload_text(only) == json.dumps(sent).encode()
        assert json.loads(bytes(only.request_headers or b"")) == headers
        (acted,) = events("/v1/actions", ACTION | {"sessionToken": "t"}, dialect=dialect)
        assert payload(acted)["sessionToken"] == "t"

    def test_sessions_join_all_the_same(self, dialect: Moesif) -> None:
        found = api_call({}, request={"headers": {"Authorization": "Bearer abc"}}, dialect=dialect)
        given = action({"session_token": "Token abc"}, dialect=dialect)
        user = profile("users", USER | {"session_token": "abc"}, dialect=dialect)
        assert found.session_token == given.session_token == user.session_token == "abc"
        assert "session_token" not in leaves(user)


@pytest.mark.parametrize(
    "body",
    [
        b'{"headers":[{"name":"Authorization","value":"Bearer S3CRET"}]}',
        b'{"headers":[["authorization","Bearer S3CRET"]]}',
        b'{"Authorization":{"v":"S3CRET"}}',
        b'{"session_token":{"v":["S3CRET",5]}}',
        rb'"{\"session_token\":\"S3CRET\"}"',
        rb'{"\u0073ession_token":"S3CRET","session_token":null}',
        b'{"set-cookie":["a]S3CRET"]}',
        b'{"set-cookie":["a",["b"],"S3CRET"]}',
        b'{"session_token":"a\\\nS3CRET","x":',
    ],
)
def test_a_credential_of_a_refused_body_is_found_in_any_form(body: bytes) -> None:
    assert b"S3CRET" in body
    assert b"S3CRET" not in MOESIF.conceal(body)


def test_a_refused_body_whose_credentials_are_texts_stays_as_it_was_sent_around_them() -> None:
    body = b'{ "session_token" : "S3CRET",\n "n": 1e3, "name": "Authorization", "n": 2 }'
    concealed = MOESIF.conceal(body)
    assert concealed.startswith(b'{ "session_token" : "hash:')
    assert concealed.endswith(b'",\n "n": 1e3, "name": "Authorization", "n": 2 }')
