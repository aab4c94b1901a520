"""Moesif's clients for Node, unchanged but for their base URL, cannot tell the difference.

The programs in `node/` print what their client was told. Whatever a client has to complain about it writes to its
standard error, so that stays empty.
"""

import base64
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import tomlkit

from catchment import config
from tests.clients.programs import EXAMPLES, NODE_DIR, question_about
from tests.clients.proxy import Proxy
from tests.conftest import AppOf, Server, until, write_apps

RUN_S_MAX = 180
QUIET = "--no-deprecation"  # what Node has to say about a client's own code


def environment(app: AppOf, url: str, **more: str) -> dict[str, str]:
    """The two variables that every program reads, and no proxy between it and the server."""
    mine = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return mine | {"CATCHMENT_URL": url, "CATCHMENT_APPLICATION_ID": app.keys["moesif"]["application_id"]} | more


class Api:
    """`moesifapi`, which runs one scenario at a time."""

    def __init__(self, node: str, app: AppOf) -> None:
        self._node = node
        self.app = app
        self.started = ""

    def run(self, scenario: str, *, status: int | None = 201, **variables: str) -> list[dict[str, Any]]:
        """Runs it, expects the status in every callback, and returns what else the callbacks were given."""
        command = [self._node, QUIET, "api.js", scenario]
        variables = environment(self.app, self.app.server.ingest) | variables
        done = subprocess.run(
            command, cwd=NODE_DIR, env=variables, capture_output=True, text=True, timeout=RUN_S_MAX, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        printed = json.loads(done.stdout.splitlines()[-1])  # sendAction prints its body first
        self.started = in_sql(printed["started"])
        answers: list[dict[str, Any]] = printed["answers"]
        assert {answer.get("status", status) for answer in answers} == {status}, answers
        return answers


@pytest.fixture
def api(node: str, node_modules: Path, app: AppOf) -> Api:
    return Api(node, app)


def in_sql(time: str) -> str:
    """`2026-01-02T03:04:05.678Z` as an answer of SQL has it."""
    return time.replace("T", " ").replace("Z", "000")


# moesifapi


def test_moesifapi_sends_an_event_with_every_field(api: Api) -> None:
    api.run("events")
    [row] = api.app.events(1)
    expected = {
        "kind": "api_call",
        "name": "POST /items/1",
        "time": api.started,
        "duration_ms": 20,
        "user_id": "u1",
        "company_id": "c1",
        "verb": "POST",
        "uri": "https://api.acme.com/items/1?x=1",
        "status": 200,
        "ip": "1.2.3.4",
        "user_agent": "UA/1",
        "api_version": "1.0",
        "direction": "Incoming",
        "weight": 3,
        "tags": ["one", "two"],
        "properties": {"k": "v"},
        "request_body": '{"a":1}',
        "response_body": '{"ok":true}',
        "late": False,
    }
    assert {name: row[name] for name in expected} == expected
    assert row["session_token"].startswith("hash:")
    headers = json.loads(row["response_headers"])
    assert (headers["Content-Type"], headers["content-length"]) == ("application/json", 11)
    assert len(set(headers["set-cookie"])) == 2
    assert all(cookie.startswith("hash:") for cookie in headers["set-cookie"])
    assert "secret" not in str(row)


def test_moesifapi_sends_batches(api: Api) -> None:
    api.run("batches")
    assert {row["user_id"] for row in api.app.events(50)} == {f"u{number}" for number in range(50)}


def test_an_event_model_without_response_has_none(api: Api) -> None:
    api.run("withoutResponse")
    [row] = api.app.events(1)
    assert json.loads(row["payload"])["response"]["status"] is None, "the client sends an object full of nulls"
    assert (row["status"], row["duration_ms"], row["response_time"]) == (None, None, None)
    assert (row["response_headers"], row["response_body"]) == ("", "")


def test_plain_objects_are_understood_in_camel_case_and_with_any_time(api: Api) -> None:
    api.run("plainObjects")
    for number, row in enumerate(api.app.events(3), start=1):
        expected = {
            "name": f"GET /plain/{number}",
            "time": api.started,
            "response_time": api.started,
            "status": 404,
            "user_id": "plain",
            "company_id": "c2",
            "ip": "5.6.7.8",
            "api_version": "2.0",
        }
        assert {name: row[name] for name in expected} == expected
        assert row["session_token"].startswith("hash:")
        assert '"tok"' not in row["payload"]


def test_an_explicit_date_of_long_ago_is_kept_and_marked(api: Api) -> None:
    api.run("longAgo")
    [row] = api.app.events(1)
    assert (row["time"], row["late"]) == ("2019-05-04 03:02:01.123000", True)


def test_moesifapi_updates_users(api: Api) -> None:
    api.run("users")
    rows = {row["user_id"]: row for row in profiles(api.app, "users", 3)}
    first = rows["u1"]["profile"]
    assert first["company_id"] == "c1"
    assert first["metadata"] == {"email": "a@b.c", "address": {"city": "Paris"}}
    assert first["campaign"] == {"utm_source": "google", "utm_campaign": "spring"}
    assert (first["ip_address"], first["user_agent_string"]) == ("1.2.3.4", "UA/1")
    assert len(rows["u1"]["session_tokens"]) == 1
    assert rows["u2"]["profile"]["metadata"] == {"plan": "free"}
    assert rows["u3"]["profile"]["metadata"] == {"firstName": "Ana"}
    assert rows["u3"]["profile"]["company_id"] == "c3", "sent as companyId"


def test_moesifapi_updates_companies(api: Api) -> None:
    api.run("companies")
    rows = {row["company_id"]: row["profile"] for row in profiles(api.app, "companies", 3)}
    assert rows["c1"]["company_domain"] == "acme.com"
    assert rows["c1"]["metadata"] == {"org_name": "Acme", "address": {"city": "Paris"}}
    assert rows["c1"]["campaign"] == {"utm_source": "google"}
    assert rows["c2"]["company_domain"] == "two.com"
    assert rows["c3"]["company_domain"] == "three.com", "sent as companyDomain"
    assert rows["c3"]["metadata"] == {"orgName": "Three"}


def test_moesifapi_updates_subscriptions(api: Api) -> None:
    api.run("subscriptions")
    rows = {row["subscription_id"]: row["profile"] for row in profiles(api.app, "subscriptions", 3)}
    assert (rows["s1"]["company_id"], rows["s1"]["status"]) == ("c1", "active")
    assert rows["s1"]["metadata"] == {"plan": "pro"}
    start = datetime.fromisoformat(rows["s1"]["current_period_start"])
    assert start.replace(tzinfo=None) == datetime.fromisoformat(api.started)
    assert (rows["s2"]["status"], rows["s3"]["status"]) == ("trialing", "cancelled")


def test_moesifapi_sends_actions(api: Api) -> None:
    api.run("actions")
    rows = {row["name"]: row for row in api.app.events(3)}
    expected = {
        "kind": "action",
        "event_id": "a3765025-46ec-45dd-bc83-b136c8d1d257",
        "time": api.started,
        "user_id": "u1",
        "company_id": "c1",
        "uri": "https://acme.com/p",
        "ip": "1.2.3.4",
        "user_agent": "UA/1",
        "properties": {"button": "top"},
    }
    assert {name: rows["Clicked Sign Up"][name] for name in expected} == expected
    assert (rows["Opened"]["user_id"], rows["Opened"]["ip"]) == ("u2", "127.0.0.1")
    assert (rows["Closed"]["user_id"], rows["Closed"]["company_id"]) == ("u3", "c3")
    assert rows["Closed"]["time"] == api.started


def test_moesifapi_reads_config_rules_and_health(api: Api) -> None:
    config, rules, health = (answer["body"] for answer in api.run("settings", status=200))
    assert config["sample_rate"] == 100
    assert config["user_rules"] == config["company_rules"] == {}
    assert rules == []
    assert health["status"] is True


def test_a_base_url_may_have_a_path(api: Api) -> None:
    api.run("events", CATCHMENT_URL=f"{api.app.server.ingest}/collector/")
    assert len(api.app.events(1)) == 1


def test_a_wrong_application_id_is_an_error_in_the_callback(api: Api) -> None:
    [answer] = api.run("events", status=None, CATCHMENT_APPLICATION_ID="nobody")
    assert answer["error"] == {"errorMessage": "Request failed with status code 401", "errorCode": "ERR_BAD_REQUEST"}
    assert api.app.events(0) == []


def profiles(app: AppOf, view: str, count: int) -> list[dict[str, Any]]:
    """The rows of a view of profiles once there are `count` with something in them."""
    query = f"SELECT * FROM {view} WHERE app = {{app:String}} AND toString(profile) != '{{}}'"
    return app.server.rows_when(count, query, app=app.name)


# moesif-nodejs


class Host:
    """A program with Moesif's middleware in it: an API of the customer."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.said: list[dict[str, Any]] = []
        self._process = process
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        until(lambda: bool(self.said) or process.poll() is not None, within_s=RUN_S_MAX)
        assert self.said, process.communicate()[1]
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.said[0]['port']}", trust_env=False, timeout=30)

    def sent(self) -> int:
        """How many events of the middleware were taken; fails if any was not."""
        batches = list(self.said[1:])
        assert [batch for batch in batches if batch["error"]] == []
        return sum(batch["sent"] for batch in batches)

    def when_sent(self, count: int) -> None:
        """Waits until the middleware sent so many events."""
        until(lambda: self.sent() >= count, within_s=RUN_S_MAX, otherwise=lambda: f"{self.sent()} of {count} sent")
        assert self.sent() == count

    def stop(self) -> str:
        """Lets the program end by itself; what it had to complain about."""
        self.http.close()
        assert self._process.stdin
        assert self._process.stdout
        assert self._process.stderr
        self._process.stdin.close()
        try:
            code = self._process.wait(RUN_S_MAX)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join()
        complaints = self._process.stderr.read()
        self._process.stdout.close()
        self._process.stderr.close()
        assert code == 0, complaints
        return complaints

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            document = json.loads(line)
            if {"port", "sent"} & document.keys():  # sendAction prints its body
                self.said.append(document)


@contextmanager
def host_on_express(node: str, app: AppOf, url: str, **variables: str) -> Iterator[Host]:
    """The API on Express, which sends what it saw to the URL; `express.js` has the variables."""
    host = Host(
        subprocess.Popen(
            [node, QUIET, "express.js"],
            cwd=NODE_DIR,
            env=environment(app, url, **variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    )
    try:
        yield host
    finally:
        complaints = host.stop()
    assert complaints == ""


HostOf = Callable[..., AbstractContextManager[Host]]


@pytest.fixture
def host_of(node: str, node_modules: Path, app: AppOf) -> HostOf:
    """Starts the API on Express for the application."""
    return partial(host_on_express, node, app)


def test_the_middleware_sends_what_an_api_on_express_answered(host_of: HostOf, app: AppOf) -> None:
    with host_of(app.server.ingest) as host:
        headers = {"x-user": "u1", "x-company": "c1", "authorization": "Bearer abc", "user-agent": "UA/1"}
        host.http.get("/items/1?q=a%20b", headers=headers)
        host.http.post("/items", json={"name": "boots", "password": "hunter2", "card": "4111111111111111"})
        host.http.get("/text")
        host.http.post("/text", content="some text", headers={"content-type": "text/plain"})
        host.http.get("/cookies")
        host.http.get("/nowhere")
        host.http.delete("/items/1")
        host.http.get("/skipped")
        host.when_sent(7)
        base = str(host.http.base_url)
    rows = {row["name"]: row for row in app.events(7)}
    item = rows["GET /items/1"]
    expected = {
        "kind": "api_call",
        "uri": f"{base}/items/1?q=a%20b",
        "status": 200,
        "user_id": "u1",
        "company_id": "c1",
        "user_agent": "UA/1",
        "ip": "127.0.0.1",
        "api_version": "1.2",
        "direction": "Incoming",
        "weight": 1,
        "properties": {"agent": "UA/1"},
        "response_body": '{"id":"1"}',
        "response_encoding": "",
        "late": False,
        "blocked_by": "",
    }
    assert {name: item[name] for name in expected} == expected
    assert 0 <= item["duration_ms"] < 60_000
    assert item["session_token"].startswith("hash:")
    assert json.loads(item["request_headers"])["authorization"].startswith("Bearer hash:")
    made = rows["POST /items"]
    assert made["status"] == 201
    assert "hunter2" not in str(made), "the middleware hides passwords by itself"
    assert "4111111111111111" not in str(made)
    assert json.loads(made["request_body"])["name"] == "boots"
    assert json.loads(made["response_body"])["made"]["name"] == "boots"
    assert (made["user_id"], made["company_id"], made["session_token"]) == ("", "", "")
    # Text travels in base64, and is stored as text.
    assert (rows["GET /text"]["response_body"], rows["GET /text"]["response_encoding"]) == ("plain text", "base64")
    assert (rows["POST /text"]["request_body"], rows["POST /text"]["request_encoding"]) == ("some text", "base64")
    assert in_base64("plain text") in rows["GET /text"]["payload"]
    cookies = json.loads(rows["GET /cookies"]["response_headers"])["set-cookie"]
    assert len({cookie for cookie in cookies if cookie.startswith("hash:")}) == 2
    assert rows["GET /cookies"]["response_body"] == "[1,2]"
    assert rows["GET /nowhere"]["status"] == 404
    assert (rows["DELETE /items/1"]["status"], rows["DELETE /items/1"]["response_body"]) == (204, "")


def test_full_batches_are_sent_at_once(host_of: HostOf, app: AppOf, proxy: Proxy) -> None:
    with host_of(proxy.url, BATCH_MS="600000") as host:  # none is sent because its time has come
        for number in range(20):
            host.http.get(f"/items/{number}")
        host.when_sent(20)
    assert len(app.events(20)) == 20
    assert [len(call.json) for call in proxy.made("POST", "/v1/events/batch")] == [10, 10]


def test_the_middleware_reads_config_and_rules_at_its_start_and_not_for_every_call(
    host_of: HostOf, app: AppOf, proxy: Proxy
) -> None:
    with host_of(proxy.url) as host:
        host.http.get("/items/1")
        host.when_sent(1)
        for number in range(21):
            host.http.get(f"/items/{number}")
        host.when_sent(22)
    app.events(22)
    [*_, first], rules = proxy.made("GET", "/v1/config"), proxy.made("GET", "/v1/rules")
    tags = {call.answer_headers["x-moesif-config-etag"] for call in proxy.made("POST", "/v1/events/batch")}
    assert tags == {first.answer_headers["x-moesif-config-etag"]}
    # Once at the start, and once more with a call that comes before any batch was answered, as it knows no tag yet.
    assert len(proxy.made("GET", "/v1/config")) in {1, 2}
    assert len(rules) == 1
    assert {call.status for call in proxy.calls} == {200, 201}
    assert set(proxy.tally()) == {"GET /v1/config", "GET /v1/rules", "POST /v1/events/batch"}


def test_the_middleware_reports_outgoing_calls_but_not_its_own(host_of: HostOf, app: AppOf) -> None:
    # A call that takes longer than that is reported twice, and the program does not end before.
    with host_of(app.server.ingest, OUTGOING_MS="10000") as host:
        host.http.get("/outgoing", headers={"x-user": "u1"})
        host.when_sent(3)
        base = str(host.http.base_url)
    rows = app.events(3)
    assert sorted((row["name"], row["direction"]) for row in rows) == [
        ("GET /items/7", "Incoming"),
        ("GET /items/7", "Outgoing"),
        ("GET /outgoing", "Incoming"),
    ]
    [outgoing] = [row for row in rows if row["direction"] == "Outgoing"]
    assert (outgoing["uri"], outgoing["status"]) == (f"{base}/items/7", 200)
    assert outgoing["response_body"] == '{"id":"7"}'


def test_the_middleware_updates_profiles_and_sends_actions(host_of: HostOf, app: AppOf) -> None:
    with host_of(app.server.ingest) as host:
        assert host.http.post("/profile").json() == [201] * 4
        host.when_sent(1)
    assert {(row["kind"], row["name"]) for row in app.events(2)} == {
        ("action", "Signed Up"),
        ("api_call", "POST /profile"),
    }
    [user] = profiles(app, "users", 1)
    [company] = profiles(app, "companies", 1)
    [subscription] = profiles(app, "subscriptions", 1)
    assert (user["user_id"], user["profile"]["metadata"]) == ("u1", {"email": "a@b.c"})
    assert (company["company_id"], company["profile"]["metadata"]) == ("c1", {"plan": "pro"})
    assert (subscription["subscription_id"], subscription["profile"]["status"]) == ("s1", "active")


# Governance


QUOTA = {
    "id": "quota",
    "name": "No more calls",
    "type": "user",
    "block": True,
    "response": {
        "status": 429,
        "headers": {"X-Plan": "{{plan}}"},
        "body": {"error": "no more calls with the plan {{plan}}", "ask": "{{contact|us}}"},
    },
    "variables": [{"name": "plan", "path": "body.plan"}],
}
NO_DELETES = {
    "id": "no-deletes",
    "name": "Nothing is deleted",
    "type": "regex",
    "block": True,
    "regex_config": [{"conditions": [{"path": "request.verb", "value": "^DELETE$"}]}],
    "response": {"status": 451, "body": {"error": "nothing is deleted"}},
}
NOTICE = {
    "id": "notice",
    "name": "Tell them",
    "type": "company",
    "response": {"status": 200, "headers": {"X-Notice": "moved"}},
}


@pytest.fixture
def governed_app(tmp_path: Path) -> Iterator[AppOf]:
    """An application with rules and sample rates, of a server of its own."""
    data_dir = tmp_path / "server"
    write_apps(data_dir, ["default"])
    file = data_dir / config.FILE_NAME
    document: Any = tomlkit.parse(file.read_text())
    document["apps"]["default"]["moesif"] |= {
        "user_sample_rate": {"never": 0, "half": 50},
        "company_sample_rate": {"fifth": 20},
        "user_rules": {"u1": [{"rules": "quota", "values": {"plan": "free"}}]},
        "company_rules": {"c1": [{"rules": "notice"}]},
        "rules": [QUOTA, NO_DELETES, NOTICE],
    }
    file.write_text(tomlkit.dumps(document))
    server = Server(data_dir, "--workers", "1")
    yield AppOf(server, "default")
    assert server.stop() == 0


def test_the_middleware_follows_the_rules_and_sample_rates_of_the_server(
    node: str, node_modules: Path, governed_app: AppOf
) -> None:
    with host_on_express(node, governed_app, governed_app.server.ingest) as host:
        blocked = {"x-user": "u1"}
        until(lambda: host.http.get("/items/0", headers=blocked).status_code == 429, within_s=RUN_S_MAX)
        answer = host.http.get("/items/1", headers=blocked)
        assert answer.json() == {"error": "no more calls with the plan free", "ask": "us"}
        assert answer.headers["x-plan"] == "free"
        answer = host.http.delete("/items/1", headers={"x-user": "u2"})
        assert (answer.status_code, answer.json()) == (451, {"error": "nothing is deleted"})
        answer = host.http.get("/items/1", headers={"x-user": "u2", "x-company": "c1"})
        assert (answer.status_code, answer.headers["x-notice"]) == (200, "moved")
        for number in range(100):
            host.http.get(f"/items/{number}", headers={"x-user": "never"})
            host.http.get(f"/items/{number}", headers={"x-user": "half"})
            host.http.get(f"/items/{number}", headers={"x-company": "fifth"})
        host.http.get("/items/last", headers={"x-user": "u2"})
        last = "SELECT * FROM events WHERE name = 'GET /items/last'"
        governed_app.server.rows_when(1, last)
    rows = governed_app.server.sql("SELECT * FROM events")
    assert {(row["name"], row["status"], row["blocked_by"]) for row in rows if row["blocked_by"]} == {
        ("GET /items/0", 429, "quota"),
        ("GET /items/1", 429, "quota"),
        ("DELETE /items/1", 451, "no-deletes"),
    }
    [deleted] = [row for row in rows if row["verb"] == "DELETE"]
    assert json.loads(deleted["response_body"]) == {"error": "nothing is deleted"}
    halves = [row["weight"] for row in rows if row["user_id"] == "half"]
    fifths = [row["weight"] for row in rows if row["company_id"] == "fifth"]
    assert (set(halves), set(fifths)) == ({2}, {5}), "each stands for so many"
    assert 0 < len(halves) < 100
    assert 0 < len(fifths) < 100
    assert not [row for row in rows if row["user_id"] == "never"]


# Examples


@pytest.mark.parametrize(
    ("program", "names"),
    [
        ("client.js", {"POST /orders", "Opened Cart"}),
        ("express_app.js", {"GET /items/1", "GET /items/2", "GET /nowhere"}),
    ],
)
def test_an_example_sends_its_events_and_ends(
    node: str, node_modules: Path, app: AppOf, program: str, names: set[str]
) -> None:
    variables = environment(app, app.server.ingest, NODE_PATH=str(node_modules))
    command = [node, QUIET, str(EXAMPLES / "node" / program)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=RUN_S_MAX, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Sent ")
    assert {row["name"] for row in app.events(len(names))} == names
    assert {row["name"] for row in app.server.sql(question_about(f"node/{program}"))} == names


def test_an_example_without_its_variables_says_which(node: str, node_modules: Path) -> None:
    for program in ("client.js", "express_app.js"):
        command = [node, QUIET, str(EXAMPLES / "node" / program)]
        bare = {"PATH": os.environ["PATH"], "NODE_PATH": str(node_modules)}
        done = subprocess.run(command, env=bare, capture_output=True, text=True, timeout=RUN_S_MAX, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith("Set CATCHMENT_URL")


@pytest.mark.parametrize("folder", ["node", "browser"])
def test_the_examples_want_the_versions_that_are_tested(folder: str) -> None:
    tested = json.loads((NODE_DIR / "package.json").read_text())["dependencies"]
    wanted = json.loads((EXAMPLES / folder / "package.json").read_text())["dependencies"]
    assert wanted.items() <= tested.items()


def in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
