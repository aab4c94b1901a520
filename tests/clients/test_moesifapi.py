"""Moesif's own Python client, unchanged but for its base URL, cannot tell the difference."""

from datetime import UTC, datetime
from typing import Any

import pytest
from moesifapi.configuration import Configuration
from moesifapi.exceptions.api_exception import APIException
from moesifapi.models import EventModel, EventRequestModel, EventResponseModel, UserModel
from moesifapi.moesif_api_client import MoesifAPIClient

from tests.conftest import AppOf


@pytest.fixture
def client(app: AppOf, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(Configuration, "BASE_URI", app.server.ingest)
    return MoesifAPIClient(app.keys["moesif"]["application_id"]).api


def event(number: int, **fields: Any) -> Any:
    request = EventRequestModel(
        time=datetime.now(UTC).replace(tzinfo=None),
        uri=f"https://api.acme.com/items/{number}?x=1",
        verb="POST",
        headers={"Host": "api.acme.com", "Authorization": "Bearer secret"},
        body={"a": number},
    )
    response = EventResponseModel(
        time=request.time, status=200, headers={"Content-Type": "application/json"}, body={"ok": True}
    )
    return EventModel(
        request=request,
        response=response,
        user_id=f"u{number}",
        company_id="c1",
        session_token="tok",
        metadata={"k": "v"},
        direction="Incoming",
        **fields,
    )


def test_it_sends_single_events(app: AppOf, client: Any) -> None:
    client.create_event(event(1, weight=3))
    [row] = app.events(1)
    assert (row["kind"], row["name"], row["user_id"], row["company_id"]) == ("api_call", "POST /items/1", "u1", "c1")
    assert (row["status"], row["weight"], row["direction"], row["late"]) == (200, 3, "Incoming", False)
    assert row["properties"] == {"k": "v"}
    assert row["request_body"] == '{"a":1}'.replace(":", ": ")
    assert row["event_id"], "the client makes a transaction id"
    assert "secret" not in str(row)


def test_it_sends_batches_and_a_batch_sent_again_counts_once(app: AppOf, client: Any) -> None:
    batch = [event(number) for number in range(50)]
    for _ in range(2):
        client.create_events_batch(batch)
    assert {row["user_id"] for row in app.events(50)} == {f"u{number}" for number in range(50)}


def test_an_event_without_response_is_taken(app: AppOf, client: Any) -> None:
    lonely = event(1)
    lonely.response = None
    client.create_event(lonely)
    [row] = app.events(1)
    assert (row["status"], row["duration_ms"]) == (None, None)


def test_it_updates_users_and_its_nulls_erase_nothing(app: AppOf, client: Any) -> None:
    client.update_user(
        UserModel(user_id="u1", company_id="c1", metadata={"email": "a@b.c", "address": {"city": "Paris"}})
    )
    client.update_users_batch([UserModel(user_id="u1", session_token="tok", metadata={"address": {"zip": "1"}})])
    query = "SELECT * FROM users WHERE app = {app:String} AND profile.metadata.address.zip::String = '1'"
    [row] = app.server.rows_when(1, query, app=app.name)
    assert row["profile"]["company_id"] == "c1"
    assert row["profile"]["metadata"] == {"email": "a@b.c", "address": {"city": "Paris", "zip": "1"}}


def test_a_wrong_key_is_an_exception_of_the_client(app: AppOf, client: Any) -> None:
    stranger = MoesifAPIClient("nobody").api
    with pytest.raises(APIException):
        stranger.create_event(event(1))
    assert app.events(0) == []
