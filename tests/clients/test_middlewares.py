"""Moesif's middlewares for Starlette, Flask and Django, in real applications, find Catchment as good as Moesif."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from catchment import config
from tests.clients.proxy import Proxy, proxy_to
from tests.clients.python_programs import Host
from tests.conftest import AppOf, Server, until, write_apps

REFRESHED_EVERY_S = 60
SENT_WITHIN_S = 120.0
ANA = "Basic YW5hOnNlY3JldA=="


@dataclass(frozen=True)
class Middleware:
    """One of Moesif's middlewares, with what is particular about it."""

    module: str
    user_agent: str
    rules_read_at_start: int = 1
    has_subscriptions: bool = False


MIDDLEWARES = [
    Middleware("asgi", "moesifasgi-python/"),
    Middleware("wsgi", "moesifwsgi-python/"),
    # It forgets the tag of the rules that it got at its start, and gets them again with the first events.
    Middleware("django_site", "moesifdjango-python/", rules_read_at_start=2, has_subscriptions=True),
]
StartHost = Callable[[str, str], Host]

# Of every application of the server that governs. `values` has no names but numbers: moesifdjango cannot read others.
GOVERNED: dict[str, Any] = {
    "sample_rate": 50,
    "user_sample_rate": {"gate": 100, "last": 100, "mute": 0},
    "company_sample_rate": {"acme": 25},
    "regex_config": [{"conditions": [{"path": "request.route", "value": "^/text$"}], "sample_rate": 33}],
    "rules": [
        {
            "id": "out-of-quota",
            "type": "user",
            "block": True,
            "response": {"status": 429, "headers": {"x-plan": "{{0}}"}, "body": {"error": "no more calls on {{0}}"}},
            "variables": [{"name": "0", "path": "body.plan"}],
        },
        {
            "id": "closed-shelf",
            "type": "regex",
            "block": True,
            "regex_config": [{"conditions": [{"path": "request.route", "value": ".*/items/13.*"}]}],
            "response": {"status": 410, "body": {"error": "gone"}},
        },
    ],
    "user_rules": {"gate": [{"rules": "out-of-quota", "values": {"0": "free"}}]},
}


@pytest.fixture(params=MIDDLEWARES, ids=lambda middleware: middleware.module)
def middleware(request: pytest.FixtureRequest) -> Middleware:
    chosen: Middleware = request.param
    return chosen


@pytest.fixture
def start(middleware: Middleware, tmp_path: Path) -> Iterator[StartHost]:
    """Starts the application with the middleware; at the end of the test nobody may have complained."""
    hosts: list[Host] = []

    def start_host(url: str, application_id: str) -> Host:
        hosts.append(Host(tmp_path, middleware.module, url, application_id))
        return hosts[-1]

    yield start_host
    complaints = [line for host in hosts for line in host.complaints]
    for host in hosts:
        host.kill()
    assert complaints == []


@pytest.fixture
def host(start: StartHost, proxy: Proxy, app: AppOf) -> Host:
    """The application, which reports to the shared server."""
    return start(proxy.url, app.keys["moesif"]["application_id"])


def test_calls_arrive_as_they_were_made(host: Host, app: AppOf, middleware: Middleware, proxy: Proxy) -> None:
    host.get("/items/7?x=1", x_user="u1", x_company="c1", x_session="tok", authorization="Bearer secret")
    host.http.post("/orders", json={"n": 1}, headers={"x-user": "u2"})
    host.get("/text", x_user="u3")
    host.get("/failure", x_user="u4")
    host.get("/items/8", authorization=ANA)
    host.get("/items/9", x_forwarded_for="61.48.220.123")
    assert host.get("/health").text == "plain text"
    rows = {row["user_id"]: row for row in app.events(6)}

    assert {user: (row["kind"], row["name"], row["status"]) for user, row in rows.items()} == {
        "u1": ("api_call", "GET /items/7", 200),
        "u2": ("api_call", "POST /orders", 201),
        "u3": ("api_call", "GET /text", 200),
        "u4": ("api_call", "GET /failure", 503),
        "ana": ("api_call", "GET /items/8", 200),
        "": ("api_call", "GET /items/9", 200),
    }
    first = rows["u1"]
    assert (first["uri"], first["company_id"]) == (f"{host.url}/items/7?x=1", "c1")
    assert (first["direction"], first["api_version"], first["weight"]) == ("Incoming", "1.2", 1)
    assert (first["properties"], first["late"], first["blocked_by"]) == ({"region": "eu"}, False, "")
    assert first["session_token"].startswith("hash:")
    assert "secret" not in str(first)
    assert first["user_agent"].startswith("python-httpx/")
    assert first["duration_ms"] >= 0
    assert len({row["event_id"] for row in rows.values()}) == 6
    assert [_json(row["response_body"]) for row in (first, rows["u2"])] == [{"item": 7}, {"order": {"n": 1}}]
    assert _json(rows["u2"]["request_body"]) == {"n": 1}
    assert (rows["u3"]["response_body"], rows["u3"]["response_encoding"]) == ("plain text", "base64")
    assert (first["ip"], rows[""]["ip"]) == ("127.0.0.1", "61.48.220.123")
    assert app.rejections(0) == []

    batches = proxy.made("POST", "/v1/events/batch")
    assert all(call.headers["user-agent"].startswith(middleware.user_agent) for call in batches)
    assert {(call.headers["content-encoding"], call.status) for call in batches} == {("gzip", 201)}


def test_the_configuration_is_fetched_at_the_start_and_not_with_every_call(
    host: Host, app: AppOf, middleware: Middleware, proxy: Proxy
) -> None:
    for round_ in (1, 2):
        for number in range(20):
            host.get(f"/items/{number}", x_user="u1")
        app.events(20 * round_)
    tally = proxy.tally()
    assert 1 <= tally.pop("POST /v1/events/batch") < 40
    assert tally.keys() == {"GET /v1/config", "GET /v1/rules"}
    assert tally["GET /v1/config"] <= 1 + refreshed(host)
    assert tally["GET /v1/rules"] <= middleware.rules_read_at_start + refreshed(host)


def test_a_batch_sent_again_after_a_lost_answer_is_stored_once(host: Host, app: AppOf, proxy: Proxy) -> None:
    proxy.losses.append("/v1/events/batch")
    host.get("/items/1", x_user="lost")
    until(lambda: len(proxy.made("POST", "/v1/events/batch")) == 2, within_s=SENT_WITHIN_S)
    first, again = (call.json for call in proxy.made("POST", "/v1/events/batch"))
    assert first == again
    host.get("/items/1", x_user="last")
    assert [row["user_id"] for row in app.events(2)] == ["lost", "last"]
    assert not proxy.losses


def test_profiles_are_updated(host: Host, app: AppOf, middleware: Middleware, proxy: Proxy) -> None:
    host.http.post("/profiles")
    assert {call.status for call in proxy.calls} <= {200, 201}
    query = "SELECT user_id, profile FROM users WHERE app = {app:String} ORDER BY user_id"
    ana, ben = app.server.rows_when(2, query, app=app.name)
    assert (ana["user_id"], ben["user_id"]) == ("u1", "u2")
    assert (ana["profile"]["company_id"], ana["profile"]["metadata"]) == ("c1", {"plan": "pro", "seats": 3})
    query = "SELECT profile FROM companies WHERE app = {app:String} AND profile.metadata.size::String = '9'"
    [company] = app.server.rows_when(1, query, app=app.name)
    assert (company["profile"]["company_domain"], company["profile"]["metadata"]) == ("acme.com", {"size": 9})
    if middleware.has_subscriptions:
        query = "SELECT * FROM subscriptions WHERE app = {app:String} AND profile.metadata.seats::String = '5'"
        [subscription] = app.server.rows_when(1, query, app=app.name)
        assert (subscription["profile"]["company_id"], subscription["profile"]["status"]) == ("c1", "paused")


@pytest.fixture(scope="module")
def governing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose applications have rules and sample rates."""
    data_dir = tmp_path_factory.mktemp("governing")
    modules = [middleware.module for middleware in MIDDLEWARES]
    write_apps(data_dir, ["default", *modules, *(f"changing_{module}" for module in modules)])
    file = data_dir / config.FILE_NAME
    document: Any = tomlkit.parse(file.read_text())
    for app in document["apps"].values():
        app["moesif"].update(GOVERNED)
    file.write_text(tomlkit.dumps(document))
    running = Server(data_dir, "--workers", "1")
    yield running
    assert running.stop() == 0


def test_rules_block_and_samples_carry_their_weight(
    start: StartHost, governing: Server, middleware: Middleware
) -> None:
    app = AppOf(governing, middleware.module)
    host = start(governing.ingest, app.keys["moesif"]["application_id"])
    # The first calls may come before the client has read the rules; from the first blocked one on, it has all.
    until(lambda: host.get("/items/1", x_user="gate").status_code == 429, within_s=SENT_WITHIN_S)
    assert host.get("/items/1", x_user="gate").json() == {"error": "no more calls on free"}
    closed = host.get("/items/13", x_user="last")
    assert (closed.status_code, closed.json()) == (410, {"error": "gone"})

    assert {host.get("/items/1", x_user="mute").status_code for _ in range(20)} == {200}
    for _ in range(40):
        host.get("/items/2", x_user="any")
        host.get("/text", x_user="any")
    for _ in range(60):
        host.get("/items/3", x_user="any", x_company="acme")
    host.get("/items/4", x_user="last")
    app.events(1, "name = 'GET /items/4'")
    rows: list[dict[str, Any]] = []

    def all_kinds_came() -> bool:  # in several calls, not always in order
        rows[:] = app.server.sql("SELECT * FROM events WHERE app = {app:String}", app=app.name)
        return {"GET /items/2", "GET /items/3", "GET /text", "GET /items/13"} <= {row["name"] for row in rows}

    until(all_kinds_came, within_s=SENT_WITHIN_S)
    blocked = {(row["blocked_by"], row["user_id"], row["status"]) for row in rows if row["blocked_by"]}
    assert blocked == {("out-of-quota", "gate", 429), ("closed-shelf", "last", 410)}
    weights = {(row["name"], row["company_id"], row["weight"]) for row in rows if row["user_id"] == "any"}
    assert weights == {("GET /items/2", "", 2), ("GET /text", "", 3), ("GET /items/3", "acme", 4)}
    assert {row["weight"] for row in rows if row["user_id"] in ("gate", "last")} == {1}
    sampled = [row for row in rows if row["name"] == "GET /items/2"]
    assert 0 < len(sampled) < 40
    assert [row for row in rows if row["user_id"] == "mute"] == []


# moesifasgi asks once a minute, and does not look at the tags of answers.
@pytest.mark.parametrize("middleware", MIDDLEWARES[1:], ids=lambda middleware: middleware.module)
def test_a_changed_configuration_reaches_a_client_that_runs(
    start: StartHost, governing: Server, middleware: Middleware
) -> None:
    app = f"changing_{middleware.module}"
    with proxy_to(governing.ingest) as proxy:
        host = start(proxy.url, governing.keys[app]["moesif"]["application_id"])
        until(lambda: host.get("/items/1", x_user="gate").status_code == 429, within_s=SENT_WITHIN_S)
        file = governing.data_dir / config.FILE_NAME
        document: Any = tomlkit.parse(file.read_text())
        settings = document["apps"][app]["moesif"]
        settings["rules"][0]["response"]["status"] = 402
        settings["sample_rate"] = 51  # moesifwsgi minds the tag of the configuration only, not that of the rules
        file.write_text(tomlkit.dumps(document))
        until(lambda: host.get("/items/1", x_user="gate").status_code == 402, within_s=SENT_WITHIN_S)
        tally = proxy.tally()
    assert tally["GET /v1/config"] <= 2 + refreshed(host)
    assert tally["GET /v1/rules"] <= middleware.rules_read_at_start + 1 + refreshed(host)


def refreshed(host: Host) -> int:
    """How often its client may have asked again since it was started, only because time has passed."""
    return int((time.monotonic() - host.started_s) / REFRESHED_EVERY_S)


def _json(text: str) -> Any:
    return json.loads(text)
