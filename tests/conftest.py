"""A real server for the tests that want one: `catchment serve` in a temporary folder, on free ports."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import tomlkit
from hypothesis import HealthCheck, settings

from catchment import config
from catchment.supervisor import trust
from catchment.tokens import new_token, token_hash
from tests.ports import free_port
from tests.processes import children, command_line

TOKEN = new_token()
EXAMPLES = Path(__file__).parent / "examples"
APPS = 400
# What is bound to happen is given this long: a busy machine may stand still for many seconds, and it costs nothing.
STARTED_WITHIN_S = 120.0
VISIBLE_WITHIN_S = 60.0
STATUS_WITHIN_S = 30.0
PROFILES = re.compile(r"\bFROM (users|visitors|companies|subscriptions|profiles)\b")

# The tests run beside each other have it set, and what a command prints into a pipe depends on it.
os.environ.pop("COLUMNS", None)

# How long an example takes says more about the machine than about what is tested.
settings.register_profile("patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


class Server:
    """A running Catchment, asked over its ports as anybody would; `output` is a folder with what it prints."""

    def __init__(
        self,
        data_dir: Path,
        *options: str,
        ports: tuple[str, str] | None = None,
        environment: dict[str, str] | None = None,
        output: Path | None = None,
    ) -> None:
        self.data_dir = data_dir
        self._environment = environment or {}
        self._output = output
        self._ports = ports
        self._options = options
        self.start()

    def start(self) -> None:
        """Starts it and waits until it is ready."""
        give_token(self.data_dir)
        port, console_port = self._ports or (str(free_port()), str(free_port()))
        command = [sys.executable, "-m", "catchment", "serve", "--data-dir", str(self.data_dir)]
        command += ["--port", port, "--console-port", console_port, *self._options]
        self.process = self._popen(command)
        run_file = self.data_dir / "run.json"
        until(lambda: run_file.exists() or self.process.poll() is not None, within_s=STARTED_WITHIN_S)
        assert self.process.poll() is None, "the server did not start"
        run = json.loads(run_file.read_text())
        assert run["pid"] == self.process.pid
        self.ingest, self.console = run["ingest"], run["console"]
        self.keys = {
            app["app"]: app for app in json.loads(catchment("keys", "--format", "json", data_dir=self.data_dir))
        }
        tls = run["tls_cert"]
        self.http = httpx.Client(verify=trust(tls), trust_env=False, timeout=60)
        self.api = httpx.Client(
            base_url=self.console,
            verify=trust(tls),
            trust_env=False,
            timeout=60,
            headers={"authorization": f"Bearer {run['secret']}"},
        )

    def _popen(self, command: list[str]) -> "subprocess.Popen[bytes]":
        environment = os.environ | self._environment
        if self._output is None:
            return subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
        with (self._output / "stdout").open("ab") as out, (self._output / "stderr").open("ab") as err:
            return subprocess.Popen(command, stdout=out, stderr=err, env=environment)

    def parts(self, name: str) -> list[int]:
        """Process ids of the `edge` or the `core` and of all below them."""
        mine = [pid for pid in children(self.process.pid) if name in command_line(pid)]
        return mine + [pid for parent in mine for pid in children(parent)]

    def sql(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of an answer."""
        response = self.api.post("/api/sql", json={"query": query, "parameters": parameters})
        assert response.status_code == 200, response.text
        rows: list[dict[str, Any]] = response.json()["rows"]
        return rows

    def rows_when(self, count: int, query: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of an answer once there are `count` of them. One of profiles is made of several tables, which an
        insert fills one after the other, so it is asked for again after that."""
        rows: list[dict[str, Any]] = []

        def there() -> bool:
            rows[:] = self.sql(query, **parameters)
            return len(rows) >= count

        until(there, within_s=VISIBLE_WITHIN_S, otherwise=lambda: f"{len(rows)} of {count} rows: {query} {parameters}")
        if PROFILES.search(query):
            until(lambda: self.api.get("/api/status").json()["lag"]["unread_bytes"] == 0, within_s=VISIBLE_WITHIN_S)
            rows[:] = self.sql(query, **parameters)
        assert len(rows) == count, rows
        return rows

    def check_books(self, where: str = "1", **parameters: Any) -> None:
        """Fails unless all that arrived is accounted for. What is in the log only is not in the books yet, and within
        an insert they may be out of balance for a moment."""
        query = f"SELECT * FROM ledger WHERE difference != 0 AND ({where})"
        found: list[dict[str, Any]] = []

        def balanced() -> bool:
            found[:] = self.sql(query, **parameters)
            return not found

        until(balanced, within_s=VISIBLE_WITHIN_S, otherwise=lambda: f"the books do not balance: {found}")

    def stop(self, *, check_books: bool = True) -> int:
        """SIGTERM; the exit code."""
        if check_books and self.process.poll() is None:
            with suppress(httpx.TransportError):  # what runs no more is not asked
                self.check_books()
        self.http.close()
        self.api.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(150)  # longer than a part may take, so that the log output says which one hangs


class AppOf:
    """One application of the shared server: an empty one for the test that asked for it."""

    def __init__(self, server: Server, name: str) -> None:
        self.server = server
        self.name = name
        self.keys = server.keys[name]
        self.moesif_headers = {"X-Moesif-Application-Id": self.keys["moesif"]["application_id"]}
        self.batch_headers = {"X-Authorization": self.keys["batch"]["rest_api_key"]}
        self.batch_path = f"/1.0/{self.keys['batch']['live']}/events/users"
        self.moloco_headers = {"x-api-key": self.keys["moloco"]["api_key"]}
        self.moloco_path = f"/rmp/event/v1/platforms/{self.keys['moloco']['platform']}/userevents"

    def post(self, path: str, body: bytes | str | object, headers: dict[str, str]) -> httpx.Response:
        """Posts bytes or text as they are, anything else as JSON."""
        content = body if isinstance(body, (bytes, str)) else json.dumps(body)
        return self.server.http.post(self.server.ingest + path, content=content, headers=headers)

    def moesif(self, path: str, body: bytes | str | object, **headers: str) -> httpx.Response:
        """Posts to Moesif's API with this application's id."""
        return self.post(path, body, self.moesif_headers | headers)

    def events(self, count: int, where: str = "1", **parameters: Any) -> list[dict[str, Any]]:
        """This application's events once there are `count`, in order of arrival."""
        query = f"SELECT * FROM events WHERE app = {{app:String}} AND ({where}) ORDER BY received_at"
        return self.server.rows_when(count, query, app=self.name, **parameters)

    def rejections(self, count: int) -> list[dict[str, Any]]:
        """This application's rejections once there are `count`, in order of arrival."""
        query = "SELECT * FROM rejections WHERE app = {app:String} ORDER BY received_at"
        return self.server.rows_when(count, query, app=self.name)


def until(
    condition: Callable[[], bool], *, within_s: float, otherwise: Callable[[], str] = lambda: "did not happen"
) -> None:
    """Waits for a condition that is bound to come true, and fails where it does not in time. It is looked at once more
    behind the deadline: a machine that stood still in between has said nothing about it."""
    deadline = time.monotonic() + within_s
    over = False
    while not condition():
        assert not over, f"within {within_s} s: {otherwise()}"
        over = time.monotonic() > deadline
        time.sleep(0.02)


def catchment(*arguments: str, data_dir: Path, code: int = 0, environment: dict[str, str] | None = None) -> str:
    """Runs the command line; its standard output, or its standard error where it is meant to fail."""
    command = [sys.executable, "-m", "catchment", *arguments, "--data-dir", str(data_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ | (environment or {}))
    assert done.returncode == code, done.stderr + done.stdout
    return done.stderr if code else done.stdout


def status(data_dir: Path, *options: str, code: int, warns: bool = False) -> str:
    """What `catchment status` prints once it ends with this code; its figures are printed whatever the code is. The
    core and the edge have a few seconds to answer it, for which the machine may stand still, so it is asked again."""
    command = [sys.executable, "-m", "catchment", "status", *options, "--data-dir", str(data_dir)]
    done: subprocess.CompletedProcess[str]

    def as_expected() -> bool:
        nonlocal done
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert bool(done.stderr) == warns, done.stderr
        return done.returncode == code

    until(as_expected, within_s=STATUS_WITHIN_S, otherwise=lambda: f"ended with {done.returncode}: {done.stdout}")
    return done.stdout


def write_apps(data_dir: Path, names: list[str]) -> None:
    """A first configuration with an application, and keys, for each name."""
    document: Any = None
    for name in names:
        fresh: Any = tomlkit.parse(config.first_file(token_hash(TOKEN)))
        app = fresh["apps"]["default"]
        app["moloco"]["platforms"] = {f"PLATFORM_{name.upper()}": next(iter(app["moloco"]["platforms"].values()))}
        if document is None:
            document = fresh
        document["apps"][name] = app
    document["limits"] = {"unauthenticated_per_minute_max": 1_000_000, "rejections_per_minute_max": 1_000_000}
    document["console"]["failed_logins_per_minute_max"] = 1_000_000
    data_dir.mkdir(parents=True, exist_ok=True)
    (data_dir / config.FILE_NAME).write_text(tomlkit.dumps(document))
    (data_dir / config.FILE_NAME).chmod(0o600)


def give_token(data_dir: Path) -> None:
    """A first configuration whose console has the token `TOKEN`, where there is none yet."""
    file = data_dir / config.FILE_NAME
    if not file.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        file.write_text(config.first_file(token_hash(TOKEN)))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server that most tests share."""
    data_dir = tmp_path_factory.mktemp("server")
    write_apps(data_dir, ["default", *(f"app{number}" for number in range(APPS))])
    running = Server(data_dir, "--workers", "2")
    yield running
    until(lambda: running.api.get("/api/status").json()["lag"]["unread_bytes"] == 0, within_s=VISIBLE_WITHIN_S)
    assert running.stop() == 0


@pytest.fixture(scope="session")
def _app_names() -> Iterator[str]:
    return (f"app{number}" for number in itertools.count())


@pytest.fixture
def app(server: Server, _app_names: Iterator[str]) -> Iterator[AppOf]:
    """An application that nothing was sent to yet. What the test sends must be accounted for in the end."""
    app = AppOf(server, next(_app_names))
    yield app
    server.check_books("app = {app:String}", app=app.name)
