"""Moloco's second and third doors over HTTP, as far as SQL (contracts/moloco.md 6.49, 6.50)."""

import json

import httpx
import pytest

from tests.conftest import AppOf

PURCHASE = {
    "id": "order-1",
    "event_type": "PURCHASE",
    "channel_type": "SITE",
    "user_id": "u",
    "timestamp": "2024-02-05T23:37:42.848Z",
    "items": [{"id": "sku", "price": {"currency": "USD", "amount": 5}, "quantity": 2}],
}


def track(app: AppOf, letter: str, query: str, method: str = "GET") -> httpx.Response:
    url = f"{app.server.ingest}/t/{letter}/{app.keys['moloco']['platform']}?{query}"
    return app.server.http.request(method, url)


def test_the_second_door_leads_to_the_same_events(app: AppOf) -> None:
    headers = app.moloco_headers | {"x-platform-id": app.keys["moloco"]["platform"]}
    answer = app.post("/cdp/SEGMENT", PURCHASE, headers)
    assert (answer.status_code, answer.json(), answer.headers["content-type"]) == (200, {}, "application/json")
    first_door = app.post(app.moloco_path, PURCHASE | {"timestamp": 1707176262848}, app.moloco_headers)
    assert first_door.status_code == 200
    assert app.post(app.moloco_path, PURCHASE, app.moloco_headers).json()["message"] == "invalid timestamp"
    [row] = app.events(1)
    assert (row["event_id"], row["time"]) == ("order-1", "2024-02-05 23:37:42.848000")


def test_the_second_door_refuses_in_the_vendors_form(app: AppOf) -> None:
    platform = {"x-platform-id": app.keys["moloco"]["platform"]}
    answers = [
        app.post("/cdp/SEGMENT", PURCHASE, platform),
        app.post("/cdp/SEGMENT", PURCHASE, platform | {"x-api-key": "nobody"}),
        app.post("/cdp/SEGMENT", PURCHASE, app.moloco_headers),
        app.post("/cdp/SEGMENT", {}, app.moloco_headers | platform),
        app.post("/cdp/SEGMENT/", {}, app.moloco_headers | platform),
        app.server.http.get(app.server.ingest + "/cdp/SEGMENT", headers=app.moloco_headers | platform),
    ]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
        (401, 16), (403, 7), (404, 5), (400, 3), (404, 5), (405, 12),
    ]  # fmt: skip


def test_a_tracker_counts_once_for_each_source_however_it_is_called(app: AppOf) -> None:
    for letter, method, query in (
        ("i", "GET", "source=s1"),
        ("i", "POST", "source=s1"),
        ("c", "GET", "source=s1&user_id=u&item_id=a%2Fb"),
        ("c", "POST", "source=s2"),
    ):
        for _ in range(2):
            answer = track(app, letter, query, method)
            assert (answer.status_code, answer.content) == (200, b"")
            assert answer.headers["cache-control"] == "no-store"
            assert "location" not in answer.headers
    rows = app.events(3)
    assert [(row["name"], row["event_id"], row["identity"]) for row in rows] == [
        ("IMPRESSION", "IMPRESSION:s1", ""),
        ("CLICK", "CLICK:s1", "u"),
        ("CLICK", "CLICK:s2", ""),
    ]
    click = rows[1]
    assert (click["kind"], click["source"], click["platform"]) == ("event", "moloco", app.keys["moloco"]["platform"])
    assert [item["id"] for item in click["items"]] == ["a/b"]
    assert json.loads(click["payload"])["query"] == "source=s1&user_id=u&item_id=a%2Fb"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_tracker_that_does_not_do_is_refused_without_a_key_or_an_application(app: AppOf, method: str) -> None:
    answer = track(app, "c", "sauce=s", method)
    assert (answer.status_code, answer.json()) == (400, {"code": 3, "message": "missing source", "details": []})
    nowhere = app.server.http.request(method, f"{app.server.ingest}/t/c/NOWHERE?source={app.name}{method}")
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, 5)
    assert app.server.http.put(f"{app.server.ingest}/t/c/NOWHERE?source=s").status_code == 405
    assert app.server.http.post(f"{app.server.ingest}/t/c/NOWHERE?source=s", content=b"x" * 1025).status_code == 400
    assert app.events(0) == []
    assert app.rejections(0) == []
