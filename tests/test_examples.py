"""Every request body printed in the vendors' pages is accepted as pasted and found with every field.

`tests/examples` has the bodies as printed. Three of them are not valid JSON as printed: `MENDED` has the typo of each.
"""

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import EXAMPLES, AppOf

MENDED = {
    # two trailing commas after transfer_encoding
    "moesif-events-batch.json": ('"transfer_encoding": "",\n        }', '"transfer_encoding": ""\n        }'),
    # a missing comma after custom_string_field
    "moesif-users-single.json": ('"some_value"\n', '"some_value",\n'),
    "moesif-users-batch.json": ('"some_value"\n', '"some_value",\n'),
}
MOESIF_PATHS = {
    "moesif-actions-single.json": "/v1/actions",
    "moesif-actions-single-curl.json": "/v1/actions",
    "moesif-actions-batch.json": "/v1/actions/batch",
    "moesif-actions-batch-curl.json": "/v1/actions/batch",
    "moesif-events-single.json": "/v1/events",
    "moesif-events-single-php.json": "/v1/events",
    "moesif-events-batch.json": "/v1/events/batch",
}
ENCODERS: dict[str, Callable[[bytes], bytes]] = {"identity": bytes, "gzip": gzip.compress, "deflate": zlib.compress}


def printed(name: str) -> bytes:
    text = (EXAMPLES / name).read_text()
    if name in MENDED:
        wrong, right = MENDED[name]
        assert wrong in text
        with pytest.raises(json.JSONDecodeError):
            json.loads(text)
        text = text.replace(wrong, right)
    return text.encode()


def elements(body: bytes) -> list[dict[str, Any]]:
    parsed = json.loads(body)
    return parsed if isinstance(parsed, list) else [parsed]


@pytest.mark.parametrize("encoding", ENCODERS)
@pytest.mark.parametrize("name", MOESIF_PATHS)
def test_a_moesif_example_is_found_with_every_field(app: AppOf, name: str, encoding: str) -> None:
    body = printed(name)
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    answer = app.moesif(MOESIF_PATHS[name], ENCODERS[encoding](body), **headers)
    assert answer.status_code == 201
    sent = elements(body)
    for row, element in zip(app.events(len(sent)), sent, strict=True):
        assert row["source"] == "moesif"
        check_kept_as_sent(row, element)
        if "action_name" in element:
            check_action(row, element)
        else:
            check_api_call(row, element)


def check_kept_as_sent(row: dict[str, Any], element: dict[str, Any]) -> None:
    kept = json.loads(row["payload"])
    if "session_token" in element:
        assert kept["session_token"].startswith("hash:")
        assert row["session_token"] == kept["session_token"]
        kept["session_token"] = element["session_token"]
    assert kept == element
    assert row["properties"] == element["metadata"]
    for field in ("user_id", "company_id"):
        assert row[field] == element.get(field, "")


def check_action(row: dict[str, Any], element: dict[str, Any]) -> None:
    assert row["kind"] == "action"
    assert row["name"] == element["action_name"]
    assert row["event_id"] == element["transaction_id"]
    assert row["uri"] == element["request"]["uri"]
    assert row["user_agent"] == element["request"]["user_agent_string"]
    assert row["time"][:22] == row["received_at"][:22]
    assert row["late"] is False


def check_api_call(row: dict[str, Any], element: dict[str, Any]) -> None:
    request, response = element["request"], element["response"]
    assert row["kind"] == "api_call"
    assert row["verb"] == request["verb"]
    assert row["uri"] == request["uri"]
    assert row["name"] == f"{request['verb']} /items" + request["uri"].split("/items")[1]
    assert row["time"] == request["time"].replace("T", " ") + "000"
    assert row["response_time"] == response["time"].replace("T", " ") + "000"
    assert row["late"] is True
    assert row["ip"] == request["ip_address"]
    assert row["api_version"] == request["api_version"]
    assert row["status"] == response["status"]
    assert row["duration_ms"] == 0
    assert json.loads(row["request_headers"]) == request["headers"]
    assert json.loads(row["request_body"]) == request["body"]
    assert json.loads(row["response_headers"]) == response["headers"]
    assert json.loads(row["response_body"]) == response["body"]


@pytest.mark.parametrize("name", ["moesif-users-single.json", "moesif-users-batch.json"])
def test_a_moesif_user_example_becomes_a_profile_with_every_field(app: AppOf, name: str) -> None:
    body = printed(name)
    path = "/v1/users/batch" if "batch" in name else "/v1/users"
    assert app.moesif(path, body).status_code == 201
    for element in elements(body):
        [row] = app.server.rows_when(
            1,
            "SELECT * FROM users WHERE app = {app:String} AND user_id = {user:String}"
            " AND notEmpty(session_tokens) AND toString(profile) != '{}'",
            app=app.name,
            user=element["user_id"],
        )
        token = element.pop("session_token")
        element["modified_time"] += "Z"  # a time without zone is UTC
        agent = row["profile"].pop("user_agent", {})
        assert {name: text for name, text in row["agent"].items() if text} == agent
        assert row["profile"] == element
        assert len(row["session_tokens"]) == 1
        assert token not in row["session_tokens"]


@pytest.mark.parametrize("name", ["batch-single.json", "batch-bulk.json"])
def test_a_batch_example_is_found_with_every_field(app: AppOf, name: str) -> None:
    body = printed(name)
    bulk = "bulk" in name
    answer = app.post(app.batch_path if bulk else f"{app.batch_path}/a%20B", body, app.batch_headers)
    assert answer.status_code == 201
    token = answer.json()["token"]
    users = json.loads(body) if bulk else [{"id": "a B", **json.loads(body)}]
    sent = [(user["id"], event) for user in users for event in user["events"]]
    for row, (user_id, event) in zip(app.events(len(sent)), sent, strict=True):
        assert (row["source"], row["kind"], row["name"]) == ("batch", "event", event["name"])
        assert json.loads(row["payload"]) == event
        assert row["user_id"] == user_id
        assert row["time"] == "2012-08-12 22:30:05.000000"
        assert row["late"] is True
        assert row["label"] == event["label"]
        assert row["tags"] == event["tags"]
        assert row["properties"] == {
            key.removeprefix("date(").removesuffix(")"): value for key, value in event["attributes"].items()
        }
        assert row["dates"] == {"promo_ends": "2021-08-12 22:30:05.000"}
        assert row["platform_key_kind"] == "live"
        assert row["request_token"] == token


def test_a_moloco_event_with_the_pages_values_is_found_with_every_field(app: AppOf) -> None:
    event = {
        "id": "88ec57bb",
        "event_type": "PURCHASE",
        "timestamp": "1617870506121",
        "channel_type": "APP",
        "domain": "example.com",
        "user_id": "a9d220010dc9",
        "device": {"os": "iOS", "os_version": "14.4.1", "persistent_id": "p1", "ua": "UA/1", "ip": "1.2.3.4"},
        "items": [{"id": "2031646", "price": {"currency": "USD", "amount": 12.34}, "quantity": 25, "seller_id": "s"}],
        "revenue": {"currency": "USD", "amount": 308.5},
        "search_query": "boots",
        "session_id": "sess",
        "custom_id": "cust",
        "page_id": "categories/12312",
        "referrer_page_id": "/classes/foo/lectures/bar",
        "shipping_charge": {"currency": "USD", "amount": 0.99},
        "decision_track_id": "TRACK",
        "unknown_field": {"kept": True},
    }
    answer = app.post(app.moloco_path, event, app.moloco_headers)
    assert (answer.status_code, answer.json()) == (200, {})
    [row] = app.events(1)
    expected = {
        "source": "moloco",
        "kind": "event",
        "name": "PURCHASE",
        "event_id": "88ec57bb",
        "time": "2021-04-08 08:28:26.121000",
        "channel": "APP",
        "domain": "example.com",
        "user_id": "a9d220010dc9",
        "device_id": "p1",
        "device_os": "iOS",
        "anonymous_id": "cust",
        "user_agent": "UA/1",
        "ip": "1.2.3.4",
        "revenue_amount": 308.5,
        "revenue_currency": "USD",
        "shipping_amount": 0.99,
        "shipping_currency": "USD",
        "search_query": "boots",
        "page_id": "categories/12312",
        "referrer_page_id": "/classes/foo/lectures/bar",
        "decision_track_id": "TRACK",
        "platform": app.keys["moloco"]["platform"],
    }
    assert {name: row[name] for name in expected} == expected
    item = {"id": "2031646", "item_group_id": "", "price": 12.34, "currency": "USD", "quantity": 25, "seller_id": "s"}
    assert row["items"] == [item]
    assert row["properties"]["unknown_field"] == {"kept": True}
    assert json.loads(row["payload"]) == event
