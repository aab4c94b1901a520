"""What the Batch and Moloco contracts take comes back from SQL as it was sent: many random requests, asked for once."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.conftest import AppOf
from tests.dialects import batch_schema, moloco_schema

REQUESTS = 150
SQL_TYPES: dict[type, str] = {bool: "Bool", int: "Int64", float: "Float64", str: "String"}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def drawn(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    """So many examples, drawn before anything is sent: a server tells what became visible about once a second."""
    found: list[Any] = []

    @settings(
        max_examples=count, phases=[Phase.generate], database=None, deadline=None, suppress_health_check=[*HealthCheck]
    )
    @given(strategy)
    def collect(example: Any) -> None:
        found.append(example)

    collect()
    return found


def sql_time(time: datetime, digits: int) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S.%f}"[: 20 + digits]


def a_date(value: str | int) -> str:
    time = EPOCH + timedelta(seconds=value) if isinstance(value, int) else datetime.fromisoformat(value)
    return sql_time(time, 3)


def test_any_good_batch_request_comes_back_from_sql_as_it_was_sent(app: AppOf) -> None:
    sent: list[tuple[str, str, dict[str, Any]]] = []
    for users in drawn(batch_schema.USERS, REQUESTS):
        body = json.dumps([{"id": id, "events": events} for id, events in users])
        answer = app.post(app.batch_path, body, app.batch_headers)
        assert answer.status_code == 201, answer.text
        sent += [(answer.json()["token"], id, event) for id, events in users for event in events]
    query = (
        "SELECT *, JSONAllPathsWithTypes(properties) AS types FROM events WHERE app = {app:String} ORDER BY received_at"
    )
    rows = app.server.rows_when(len(sent), query, app=app.name)
    arrivals: dict[str, str] = {}
    for row, (token, user_id, event) in zip(rows, sent, strict=True):
        assert json.loads(row["payload"]) == event
        told = (row["request_token"], row["user_id"], row["identity"], row["name"])
        assert told == (token, user_id, user_id, event["name"].lower())
        time = datetime.fromisoformat(event["time"]) if "time" in event else None
        assert row["time"] == (sql_time(time, 6) if time else arrivals.setdefault(token, row["time"]))
        assert time or row["time"] <= row["received_at"]
        assert (row["label"], row["platform_key_kind"]) == (event.get("label", ""), "live")
        assert row["tags"] == list(dict.fromkeys(tag.lower() for tag in event.get("tags", [])))
        attributes = {re.sub(r"^date\((.*)\)$", r"\1", key): key for key in event.get("attributes", {})}
        values = {name: event["attributes"][key] for name, key in attributes.items()}
        assert {name: type(values[name])(value) for name, value in row["properties"].items()} == values
        assert row["types"] == {name: SQL_TYPES[type(value)] for name, value in values.items()}
        assert row["dates"] == {name: a_date(values[name]) for name, key in attributes.items() if name != key}


def test_any_good_moloco_event_comes_back_from_sql_as_it_was_sent(app: AppOf) -> None:
    sent: list[dict[str, Any]] = []
    for number, event in enumerate(drawn(moloco_schema.EVENTS, REQUESTS)):
        event["id"] = f"{number}-{event.get('id', '')}"
        answer = app.post(app.moloco_path, event, app.moloco_headers)
        assert (answer.status_code, answer.content) == (200, b"{}"), answer.text
        sent.append(event)
    for row, event in zip(app.events(len(sent)), sent, strict=True):
        assert json.loads(row["payload"]) == event
        assert row["time"] == sql_time(EPOCH + timedelta(milliseconds=int(event["timestamp"])), 6)
        device = event["device"]
        assert {name: row[name] for name in ("event_id", "name", "channel", "user_id", "identity")} == {
            "event_id": event["id"],
            "name": event["event_type"],
            "channel": event["channel_type"],
            "user_id": event["user_id"],
            "identity": event["user_id"],
        }
        assert row["device_id"] == (device.get("persistent_id") or device.get("unique_device_id") or "")
        assert row["anonymous_id"] == (event.get("custom_id") or event.get("session_id") or "")
        for name in ("search_query", "page_id", "referrer_page_id", "domain", "decision_track_id"):
            assert row[name] == event.get(name, ""), name
        assert row["personalization_mode"] == event.get("personalization_mode", "")
        for name, column in (("revenue", "revenue"), ("shipping_charge", "shipping")):
            money = event.get(name)
            assert a_number(row[f"{column}_amount"]) == (None if money is None else float(money.get("amount", 0)))
            assert row[f"{column}_currency"] == ("" if money is None else money["currency"])
        assert [item | {"price": a_number(item["price"])} for item in row["items"]] == list(
            map(an_item, event["items"])
        )


def a_number(told: float | None) -> float | None:
    """A double as Python has it: the engine writes large ones with few digits and many zeros."""
    return None if told is None else float(told)


def an_item(item: dict[str, Any]) -> dict[str, Any]:
    price = item.get("price")
    return {
        "id": item["id"],
        "item_group_id": item.get("item_group_id", ""),
        "price": None if price is None else float(price.get("amount", 0)),
        "currency": "" if price is None else price["currency"],
        "quantity": int(item["quantity"]) if "quantity" in item else None,
        "seller_id": item.get("seller_id", ""),
    }
