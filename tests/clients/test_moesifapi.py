"""Moesif's own Python client, unchanged but for its base URL, cannot tell the difference."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from moesifapi.configuration import Configuration
from moesifapi.exceptions.api_exception import APIException
from moesifapi.models import (
    CampaignModel,
    CompanyModel,
    EventModel,
    EventRequestModel,
    EventResponseModel,
    SubscriptionModel,
    UserModel,
)
from moesifapi.moesif_api_client import MoesifAPIClient

from tests.clients.proxy import Proxy
from tests.conftest import AppOf

CONFIG_TAG, RULES_TAG = "X-Moesif-Config-ETag", "X-Moesif-Rules-Tag"


@pytest.fixture
def connect(app: AppOf, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a client; what it keeps in global variables ends with the test."""
    monkeypatch.setattr(Configuration, "BASE_URI", app.server.ingest)
    monkeypatch.setattr(Configuration, "application_id", "")
    return MoesifAPIClient


@pytest.fixture
def both(
    app: AppOf, connect: Any, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> Iterator[Any]:
    """The client, with its part for health; it may neither log a warning nor print anything."""
    yield connect(app.keys["moesif"]["application_id"])
    records = [record for record in caplog.get_records("call") if record.levelno >= logging.WARNING]
    assert [record for record in records if record.name.startswith(("moesif", "urllib3"))] == []
    assert capsys.readouterr().out == ""


@pytest.fixture
def client(both: Any) -> Any:
    return both.api


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


def profile_of(app: AppOf, kind: str, of: str, has: str) -> Any:
    """The profile of a user, company or subscription, once `has`, a path in it, is there."""
    table = {"user": "users", "company": "companies", "subscription": "subscriptions"}[kind]
    query = (
        f"SELECT profile FROM {table} WHERE app = {{app:String}} AND {kind}_id = {{id:String}} AND {has}::String != ''"
    )
    [row] = app.server.rows_when(1, query, app=app.name, id=of)
    return row["profile"]


def test_it_sends_single_events(app: AppOf, client: Any) -> None:
    client.create_event(event(1, weight=3))
    [row] = app.events(1)
    assert (row["kind"], row["name"], row["user_id"], row["company_id"]) == ("api_call", "POST /items/1", "u1", "c1")
    assert (row["status"], row["weight"], row["direction"], row["late"]) == (200, 3, "Incoming", False)
    assert row["properties"] == {"k": "v"}
    assert row["request_body"] == '{"a":1}'.replace(":", ": ")
    assert row["event_id"], "the client makes a transaction id"
    assert "secret" not in str(row)


def test_every_field_of_an_event_arrives(app: AppOf, client: Any) -> None:
    full = event(
        1, tags="one, two", weight=2, blocked_by="rule-1", transaction_id="0192f0a4-0000-7000-8000-000000000001"
    )
    full.request.api_version, full.request.ip_address = "1.0", "61.48.220.123"
    full.request.body, full.request.transfer_encoding = "cGxhaW4gdGV4dA==", "base64"
    full.response.body, full.response.transfer_encoding, full.response.ip_address = {"ok": True}, "json", "10.0.0.1"
    client.create_event(full)
    [row] = app.events(1)
    assert (row["event_id"], row["weight"]) == ("0192f0a4-0000-7000-8000-000000000001", 2)
    assert (row["tags"], row["blocked_by"]) == (["one", "two"], "rule-1")
    assert (row["api_version"], row["ip"]) == ("1.0", "61.48.220.123")
    assert (row["request_body"], row["request_encoding"]) == ("plain text", "base64")
    assert (row["response_body"], row["response_encoding"]) == ('{"ok": true}', "json")
    assert json.loads(row["payload"])["response"]["ip_address"] == "10.0.0.1"


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
        UserModel(
            user_id="u1",
            company_id="c1",
            metadata={"email": "a@b.c", "address": {"city": "Paris"}},
            campaign=CampaignModel(utm_source="google", gclid="G1"),
        )
    )
    client.update_users_batch([UserModel(user_id="u1", session_token="tok", metadata={"address": {"zip": "1"}})])
    profile = profile_of(app, "user", "u1", "profile.metadata.address.zip")
    assert profile["company_id"] == "c1"
    assert profile["metadata"] == {"email": "a@b.c", "address": {"city": "Paris", "zip": "1"}}
    assert profile["campaign"] == {"utm_source": "google", "gclid": "G1"}


def test_it_updates_companies_and_its_nulls_erase_nothing(app: AppOf, client: Any) -> None:
    campaign = CampaignModel("google", "cpc", "spring", "boots", "top", "https://a.b", "a.b", "G1")
    client.update_company(
        CompanyModel(company_id="c1", company_domain="acme.com", metadata={"plan": "free"}, campaign=campaign)
    )
    client.update_companies_batch(
        [CompanyModel(company_id="c2"), CompanyModel(company_id="c1", metadata={"seats": 3}, session_token="tok")]
    )
    profile = profile_of(app, "company", "c1", "profile.metadata.seats")
    assert (profile["company_domain"], profile["metadata"]) == ("acme.com", {"plan": "free", "seats": 3})
    assert profile["campaign"] == {
        "utm_source": "google",
        "utm_medium": "cpc",
        "utm_campaign": "spring",
        "utm_term": "boots",
        "utm_content": "top",
        "referrer": "https://a.b",
        "referring_domain": "a.b",
        "gclid": "G1",
    }


def test_it_updates_subscriptions_and_its_nulls_erase_nothing(app: AppOf, client: Any) -> None:
    client.update_subscription(
        SubscriptionModel(
            subscription_id="s1",
            company_id="c1",
            current_period_start=datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
            current_period_end=datetime(2026, 2, 2),
            status="active",
            metadata={"plan": "free"},
        )
    )
    client.update_subscriptions_batch([SubscriptionModel(subscription_id="s1", company_id="c1", metadata={"seats": 3})])
    profile = profile_of(app, "subscription", "s1", "profile.metadata.seats")
    assert (profile["company_id"], profile["status"]) == ("c1", "active")
    assert profile["metadata"] == {"plan": "free", "seats": 3}
    assert str(profile["current_period_start"]).startswith("2026-01-02")


def test_it_reads_the_configuration_and_the_rules(client: Any) -> None:
    config = client.get_app_config()
    settings = json.loads(config.raw_body)
    assert (config.status_code, settings["sample_rate"]) == (200, 100)
    assert [settings[name] for name in ("user_sample_rate", "company_sample_rate")] == [{}, {}]
    assert [settings[name] for name in ("user_rules", "company_rules", "regex_config")] == [{}, {}, []]
    rules = client.get_governance_rules()
    assert (rules.status_code, json.loads(rules.raw_body)) == (200, [])


def test_the_tags_of_events_are_those_of_the_configuration_and_the_rules(client: Any) -> None:
    config_tag = client.get_app_config().headers[CONFIG_TAG]
    rules_tag = client.get_governance_rules().headers[RULES_TAG]
    assert config_tag
    assert rules_tag
    for headers in (client.create_event(event(1)), client.create_events_batch([event(2)])):
        assert (headers[CONFIG_TAG], headers[RULES_TAG]) == (config_tag, rules_tag)


def test_the_server_is_healthy(both: Any) -> None:
    assert both.health.get_health_probe().status is True


def test_an_event_sent_again_after_a_lost_answer_is_stored_once(
    app: AppOf, connect: Any, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Configuration, "BASE_URI", proxy.url)
    client = connect(app.keys["moesif"]["application_id"]).api
    proxy.losses.append("/v1/events")
    client.create_event(event(1))
    first, again = proxy.made("POST", "/v1/events")
    assert first.json["transaction_id"] == again.json["transaction_id"]
    client.create_event(event(2))
    assert [row["user_id"] for row in app.events(2)] == ["u1", "u2"]


def test_a_wrong_key_is_an_exception_of_the_client(app: AppOf, connect: Any) -> None:
    stranger = connect("nobody").api
    with pytest.raises(APIException):
        stranger.create_event(event(1))
    assert app.events(0) == []
