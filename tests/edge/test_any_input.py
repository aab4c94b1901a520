"""Whatever is sent: never a traceback, never a 5xx, and what was accepted is found as it was sent."""

import json
import string
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catchment import pseudonym
from catchment.dialects.dialect import Arrival, Call
from catchment.dialects.moesif import Moesif
from catchment.errors import Refused
from catchment.record import EventRecord, encode_lines
from catchment.settings import App, Limits, MoesifApp
from tests.conftest import AppOf

ID = "m" * 50
DIALECT = Moesif(
    {"a": App(moesif=MoesifApp(application_ids=[ID]))},
    Limits(),
    pseudonym=pseudonym.keyed_hash("k"),
    credential_headers=["authorization"],
)
ENDPOINTS = ["actions", "actions_batch", "events", "events_batch", "users", "users_batch"]
NAMES = [
    "action_name", "request", "response", "time", "uri", "verb", "headers", "body", "status", "metadata", "user_id",
    "anonymous_id", "company_id", "session_token", "transaction_id", "weight", "tags", "campaign", "transfer_encoding",
    "authorization", "modified_time", "x",
]  # fmt: skip
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=30)
    | st.sampled_from(
        ["2026-01-02T03:04:05.678Z", "2016-09-09T04:45:42+0000", "GET", "https://a.b/c?d#e", "", "0", "\ud800", "\x00"]
    )
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner, max_size=8)
    ),
    max_leaves=25,
)
METADATA = st.dictionaries(st.text(max_size=8), st.recursive(st.integers() | st.text(max_size=9), st.lists))
ACTIONS = st.fixed_dictionaries(
    {
        "action_name": st.text(string.printable, min_size=1, max_size=20),
        "request": st.fixed_dictionaries({}, optional={"uri": st.text(max_size=30)}),
    },
    optional={
        "user_id": st.text(max_size=10) | st.none(),
        "metadata": METADATA | st.none(),
        "weight": st.integers(0, 2**32 - 1) | st.none(),
    },
)  # fmt: skip


def decode(endpoint: str, body: bytes) -> list[Any]:
    call = Call("POST", f"/v1/{endpoint}", "", {"x-moesif-application-id": ID}, "127.0.0.1", {})
    ids = iter(range(10**9))
    arrival = Arrival(datetime(2026, 1, 1, tzinfo=UTC), 1_767_225_600_000_000, lambda: f"id-{next(ids)}")
    return DIALECT.decode(endpoint, call, DIALECT.authenticate(call), body, arrival).records


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(body=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_body_becomes_records_or_a_refusal(endpoint: str, body: bytes) -> None:
    try:
        records = decode(endpoint, body)
    except Refused as refused:
        answer = DIALECT.refuse(refused)
        assert 400 <= answer.status < 500
        assert set(json.loads(answer.body)) == {"moesif_error"}
    else:
        lines = encode_lines(records).splitlines()
        assert len(lines) == len(records)
        for line in lines:
            assert json.loads(line)["app"] == "a"


@settings(max_examples=300, deadline=None)
@given(actions=st.lists(ACTIONS, max_size=5), indent=st.sampled_from([None, 2]))
def test_an_accepted_action_is_kept_as_it_was_sent(actions: list[dict[str, Any]], indent: int | None) -> None:
    body = json.dumps(actions, indent=indent, ensure_ascii=indent is None)
    records = decode("actions_batch", body.encode())
    lines = [json.loads(line) for line in encode_lines(records).splitlines()]
    assert [line["payload"] for line in lines] == actions
    assert [line["name"] for line in lines] == [action["action_name"] for action in actions]
    assert len({line["received_us"] for line in lines}) == len(lines)
    assert all(isinstance(record, EventRecord) for record in records)


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_the_server_answers_any_request_below_500(app: AppOf, data: st.DataObject) -> None:
    paths = ["/v1/actions", "/v1/actions/batch", "/v1/events", "/v1/events/batch", "/v1/users", "/v1/users/batch"]
    paths += [
        f"{app.batch_path}/u",
        app.batch_path,
        app.moloco_path,
        "/v1/\x01",
        "//",
        "/1.0/",
        "/rmp/event/v1/platforms//userevents",
    ]
    path = data.draw(st.sampled_from(paths))
    body = data.draw(st.binary(max_size=100) | JSON.map(lambda value: json.dumps(value).encode()))
    headers = data.draw(st.sampled_from([app.moesif_headers, app.batch_headers, app.moloco_headers, {}]))
    extra = data.draw(
        st.sampled_from(
            [{}, {"Content-Encoding": "gzip"}, {"Content-Encoding": "deflate, gzip"}, {"X-Forwarded-For": "x"}]
        )
    )
    answer = app.post(path.replace("\x01", "%01"), body, headers | extra)
    assert answer.status_code < 500
    json.loads(answer.content)
