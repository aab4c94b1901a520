"""No secret gets out: not in an answer, not in the log output, not in what commands print, whatever goes wrong."""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import tomlkit

from catchment import config
from tests.conftest import TOKEN, AppOf, Server, catchment, status, until, write_apps

WITHIN_S = 120.0
ACTION = {"action_name": "A", "user_id": "u", "request": {"uri": "https://x/y"}}
SENDERS_OWN = "a-session-token-of-a-user"


class Leaky:
    """A server, all its secrets, and everything that it answered or printed."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "data"
        write_apps(self.data_dir, ["default", "limited"])
        self.file = self.data_dir / config.FILE_NAME
        document: Any = tomlkit.parse(self.file.read_text())
        document["apps"]["limited"]["moesif"]["rate_limit"] = {"requests_per_second": 0.001, "burst_requests": 1}
        document["ingest"] = {"trusted_proxies": ["127.0.0.1"]}
        self.file.write_text(tomlkit.dumps(document))
        self.sound = self.file.read_text()
        self.log = folder / "stderr"
        self.server = Server(self.data_dir, "--workers", "1", output=folder)
        self.app, self.limited = AppOf(self.server, "default"), AppOf(self.server, "limited")
        self.told: list[str] = []
        self.statuses: set[int] = set()
        run = json.loads((self.data_dir / "run.json").read_text())
        self.secrets = {TOKEN, run["secret"], document["privacy"]["hash_key"], SENDERS_OWN}
        for app in document["apps"].values():
            batch = app["batch"]
            self.secrets |= {app["moesif"]["application_ids"][0], *next(iter(app["moloco"]["platforms"].values()))}
            self.secrets |= {key for kind in ("rest_api_keys", "live", "dev", "sdk") for key in batch[kind]}

    def note(self, answer: httpx.Response) -> None:
        self.statuses.add(answer.status_code)
        self.told.append(f"{answer.status_code} {answer.headers} {answer.text}")

    def send(self, method: str, path: str, headers: dict[str, str], body: object = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body)
        self.note(self.server.http.request(method, self.server.ingest + path, headers=headers, content=content))

    def ask(self, method: str, path: str, headers: dict[str, str], body: object = None) -> None:
        self.note(self.server.http.request(method, self.server.console + path, headers=headers, json=body))

    def leaked(self, text: str) -> list[str]:
        return [secret for secret in self.secrets if secret in text]


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Leaky]:
    running = Leaky(tmp_path_factory.mktemp("leaky"))
    yield running
    assert running.server.stop(check_books=False) == 0


def refuse_at_the_edge(leaky: Leaky) -> None:
    """Every refusal of every vendor, with keys where they belong, where they do not, and with those of others."""
    app, keys = leaky.app, leaky.app.keys
    moloco = app.moloco_headers | {"x-platform-id": keys["moloco"]["platform"]}
    every = (
        app.moesif_headers | app.batch_headers | moloco | {"authorization": f"Bearer {TOKEN}", "cookie": SENDERS_OWN}
    )
    query = f"?token={TOKEN}&key={keys['batch']['rest_api_key']}&application_id={keys['moesif']['application_id']}"
    paths = ["/v1/actions", "/v1/events/batch", "/v1/users", "/v1/nothing", "/nothing", "/v1/config", app.moloco_path]
    paths += [app.batch_path, app.batch_path + "/u", f"/1.0/{keys['batch']['dev']}/nothing", "/cdp/SEGMENT"]
    paths += [f"/2.7/{keys['batch']['sdk']}/events/users", f"//1.0//{keys['batch']['live']}/events/users/u"]
    bodies: list[object] = [b"", b"{", b"[[", 5, {}, [{}], {"events": [5]}, b"\xff"]
    for path in paths:
        for headers in (every, {name: value + "x" for name, value in every.items()}, {}):
            leaky.send("GET", path + query, headers)
            leaky.send("PUT", path + query, headers, b"{}")
            for body in bodies:
                leaky.send("POST", path + query, headers, body)
        leaky.send("POST", path, every | {"content-encoding": "br"}, b"x")
        leaky.send("POST", path, every | {"content-encoding": "gzip"}, b"x")
        leaky.send("POST", path, every | {"idempotency-key": "k" * 300}, b"{}")
        leaky.send("POST", path, every, b" " * 17_000_000)
    leaky.send("POST", "/v1/users", every, {"session_token": SENDERS_OWN, "user_id": 5})  # kept, with its hash
    leaky.send("POST", "/v1/events", every, {"request": {"headers": {"cookie": SENDERS_OWN}}})
    other = leaky.limited
    leaky.send("POST", app.batch_path + "/u", other.batch_headers, {})
    leaky.send("POST", app.moloco_path, other.moloco_headers, {})
    for name in ("A", "B"):
        leaky.send("POST", "/v1/actions", app.moesif_headers | {"idempotency-key": "k"}, ACTION | {"action_name": name})
        leaky.send("POST", "/v1/actions", other.moesif_headers, ACTION)
    catchment("maintenance", "on", data_dir=leaky.data_dir)
    until(lambda: app.moesif("/v1/actions", ACTION).status_code == 503, within_s=WITHIN_S)
    for path in paths:
        leaky.send("POST", path + query, every, ACTION)
    catchment("maintenance", "off", data_dir=leaky.data_dir)
    until(lambda: app.moesif("/v1/actions", ACTION).status_code == 201, within_s=WITHIN_S)


def refuse_at_the_console(leaky: Leaky) -> None:
    right = {"authorization": f"Bearer {TOKEN}"}
    for headers in (
        {},
        right,
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"cookie": TOKEN},
    ):
        for path in ("/api/sql", "/api/tail", "/api/status", "/metrics", "/openapi.json", "/health/live", "/nothing"):
            for method in ("GET", "POST", "DELETE"):
                leaky.ask(method, f"{path}?token={TOKEN}", headers, {"query": 5})
    for query in ("SELECT * FROM file('catchment.toml')", "SELECT getSetting('x')", "SELEC", "SELECT * FROM nothing"):
        leaky.ask("POST", "/api/sql", right, {"query": query})
    leaky.ask("GET", "/api/status", right | {"host": "evil.example"})
    for table in ("events", "rejections", "users", "event_rows", "rejection_rows", "aliases", "profile_leaves"):
        leaky.ask("POST", "/api/sql", right, {"query": f"SELECT * FROM {table} LIMIT 10000"})


def break_the_file(leaky: Leaky) -> None:
    """The server reads the file again, and finds mistakes where secrets are."""
    for number, (right, wrong) in enumerate(
        (
            ('rest_api_keys = ["', 'rest_api_keys = [5, "'),
            ('application_ids = ["', 'application_ids = ["with space ", "'),
            ('hash_key = "', 'hash_key = " '),
            ('token_hash = "', f'token = "{TOKEN}"\ntoken_hash = "'),
            ("[console]", "[console"),
        )
    ):
        assert right in leaky.sound
        leaky.file.write_text(leaky.sound.replace(right, wrong, 1))
        until(lambda n=number: leaky.log.read_text().count("the settings in use stay") == n + 1, within_s=WITHIN_S)  # type: ignore[misc]
        leaky.told.append(catchment("config", "check", data_dir=leaky.data_dir, code=2))
    leaky.file.write_text(leaky.sound)


def kill_the_parts(leaky: Leaky) -> None:
    for part in ("edge", "core"):
        os.kill(leaky.server.parts(part)[0], signal.SIGKILL)

    def back() -> bool:
        try:
            return leaky.app.moesif("/v1/actions", ACTION).status_code == 201 and leaky.server.sql("SELECT 1") != []
        except httpx.TransportError:
            return False

    until(back, within_s=WITHIN_S)


def test_no_secret_is_in_any_answer_or_in_the_log_output(leaky: Leaky) -> None:
    refuse_at_the_edge(leaky)
    refuse_at_the_console(leaky)
    break_the_file(leaky)
    kill_the_parts(leaky)
    leaky.told.append(status(leaky.data_dir, "--format", "json", code=0))
    for command in (
        ["rejections"],
        ["doctor"],
        ["sql", "SELECT * FROM rejections"],
        ["log", "verify"],
    ):
        leaky.told.append(catchment(*command, data_dir=leaky.data_dir))
    assert leaky.statuses >= {200, 201, 400, 401, 403, 404, 405, 413, 421, 422, 429, 503}
    assert len(leaky.told) > 500
    assert not [(text[:300], leaky.leaked(text)) for text in leaky.told if leaky.leaked(text)]
    logged = leaky.log.read_text()
    assert "starting it again" in logged
    assert leaky.leaked(logged) == []
    assert "Traceback" not in logged


def test_a_later_start_tells_no_token(tmp_path: Path) -> None:
    assert config.ensure_file(tmp_path / "data")
    server = Server(tmp_path / "data", "--workers", "1", output=tmp_path)
    assert server.stop(check_books=False) == 0
    told = (tmp_path / "stdout").read_text() + (tmp_path / "stderr").read_text()
    assert "Catchment is running." in told
    assert not re.search(r"console-[\w-]{40}", told)
