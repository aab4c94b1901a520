"""`catchment serve`: what it prints works, it stops without cutting anybody off, it outlives the death of its parts.

And the console's API, as anybody may call it: rightly or wrongly.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import tomlkit
import trustme

from catchment.cli import asking
from catchment.cli.commands import run
from catchment.holding import CORE_LOCK, hold
from catchment.log.disk import LocalDisk
from catchment.tokens import token_hash
from tests.clients.programs import curl
from tests.conftest import STARTED_WITHIN_S, TOKEN, AppOf, Server, catchment, until
from tests.ports import free_port
from tests.processes import alive, children

WITHIN_S = 90.0
STOPPED_WITHIN_S = 150.0  # longer than the parts may take
CLIENTS = 8
BURST = 300
ACTION = {"action_name": "A", "user_id": "u", "request": {"uri": "https://x/y"}}
VENDORS = ("moesif", "batch", "moloco")
LATE_CORE = re.compile("but the core is not there yet: |the core answers at .* now")  # as on a busy machine


class Terminal:
    """`catchment serve` as somebody sees it: what it has printed so far."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        command = [sys.executable, "-m", "catchment", "serve", "--data-dir", str(data_dir), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.printed, self.errors = "", ""
        self._threads = [threading.Thread(target=read) for read in (self._read_printed, self._read_errors)]
        for thread in self._threads:
            thread.start()

    def await_ready(self) -> None:
        ready = "Then ask for it:\n\n"
        until(
            lambda: "--data-dir" in self.printed.partition(ready)[2],
            within_s=STARTED_WITHIN_S,
            otherwise=lambda: self.errors,
        )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """The exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(STOPPED_WITHIN_S)
        for thread in self._threads:
            thread.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream
            stream.close()
        return code

    def _read_printed(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.printed += line

    def _read_errors(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.errors += line


@contextlib.contextmanager
def terminal(data_dir: Path, *options: str) -> Iterator[Terminal]:
    shown = Terminal(data_dir, *options)
    try:
        yield shown
    finally:
        shown.stop()


def pasted(command: str) -> str:
    """What a command prints that somebody pastes into a shell which knows nothing of this test."""
    curl()
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, timeout=60, env={"PATH": "/usr/bin:/bin"}, cwd="/"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Files of a certificate that nobody vouches for, and of its key."""
    folder = tmp_path_factory.mktemp("certificate")
    made = trustme.CA().issue_cert("127.0.0.1", "localhost")
    made.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    made.private_key_pem.write_to_path(folder / "key.pem")
    return str(folder / "cert.pem"), str(folder / "key.pem")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_what_serve_prints_works_as_pasted(tmp_path: Path, certificate: tuple[str, str], scheme: str) -> None:
    tls = ["--tls-cert", certificate[0], "--tls-key", certificate[1]] if scheme == "https" else []
    data_dir = tmp_path / "it's data"  # a name that a shell would take apart
    with terminal(data_dir, "--host", "localhost", "--port", "0", "--console-port", "0", *tls) as shown:
        shown.await_ready()
        run = json.loads((data_dir / "run.json").read_text())
        assert run["ingest"].startswith(f"{scheme}://127.0.0.1:")
        first, *late = shown.errors.splitlines()
        assert first == f"Wrote {data_dir / 'catchment.toml'} with fresh secrets."
        assert [line for line in late if not LATE_CORE.search(line)] == []
        [keys] = json.loads(catchment("keys", "--format", "json", data_dir=data_dir))
        assert all(text in shown.printed for text in (run["ingest"], run["console"]))
        [token] = re.findall(r"console-\S{43}", shown.printed)
        kept = tomlkit.parse((data_dir / "catchment.toml").read_text()).unwrap()["console"]
        assert kept == {"token_hash": token_hash(token)}
        with httpx.Client(verify=False, timeout=60) as http:
            headers = {"authorization": f"Bearer {token}"}
            assert http.get(run["console"] + "/api/status", headers=headers).status_code == 200
        assert all(key in shown.printed for vendor in VENDORS for key in keys[vendor].values())

        *curls, ask = [block for block in shown.printed.split("\n\n") if block.startswith(("curl ", sys.executable))]
        assert len(curls) == 3
        assert all(curl.startswith("curl -k " if tls else "curl -X ") for curl in curls)
        answers = [json.loads(pasted(curl)) for curl in curls]
        assert answers == [{}, {"token": answers[1]["token"]}, {}]
        found: list[str] = []

        def all_found() -> bool:
            found[:] = pasted(ask).split()
            return all(vendor in found for vendor in VENDORS)

        until(all_found, within_s=WITHIN_S)
        assert [word for word in found if word in VENDORS] == ["moloco", "batch", "moesif"]  # the last one first
        assert {"Clicked", "ue.added_to_cart", "HOME", "12345"} <= set(found)
    assert shown.process.returncode == 0


class TestRefusals:
    def test_a_data_dir_in_use_is_refused_with_the_process_that_holds_it(self, server: Server) -> None:
        told = catchment("serve", "--port", "0", "--console-port", "0", data_dir=server.data_dir, code=1)
        assert told == (
            f"{server.data_dir} is in use by a running Catchment (process {server.process.pid}); "
            "stop it, or choose another --data-dir\n"
        )

    def test_a_store_of_another_version_is_refused_in_a_sentence(self, tmp_path: Path) -> None:
        server = Server(tmp_path)
        assert server.stop() == 0
        later = (  # in a process of its own, which can open one store only
            "import sys; from pathlib import Path; from catchment.settings import Sql;"
            " from catchment.store.clickhouse import ClickHouseStore;"
            " store = ClickHouseStore(Path(sys.argv[1]), Sql());"
            " store._command(\"INSERT INTO catchment.migrations VALUES ('9999_later.sql', 'x', now64(3))\");"
            " store.close()"
        )
        subprocess.run([sys.executable, "-c", later, str(tmp_path / "store")], check=True)
        said = catchment("serve", "--port", "0", "--console-port", "0", data_dir=tmp_path, code=78)
        assert (
            "was written by another Catchment (another build of 0.1.0; it has 9999_later.sql). This is 0.1.0," in said
        )
        assert "Nothing in the store was changed" in said
        assert "Traceback" not in said

    @pytest.mark.parametrize("option", ["--port", "--console-port"])
    def test_a_taken_port_is_refused_with_what_to_do(self, tmp_path: Path, option: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            other = {"--port": "--console-port", "--console-port": "--port"}[option]
            told = catchment("serve", option, str(port), other, "0", data_dir=tmp_path, code=1)
        assert told.splitlines()[-1] == (
            f"cannot listen on 127.0.0.1:{port}: Address already in use; "
            f"stop what listens there, or choose another with {option}"
        )
        assert {path.name for path in tmp_path.iterdir()} == {"catchment.toml", "catchment.toml.sound", "serve.lock"}

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            (["--host", "no.such.host.invalid"], "choose another with --host"),
            (["--console-host", "203.0.113.7"], "choose an address of this machine with --console-host"),
        ],
    )
    def test_an_address_that_is_not_here_is_refused(self, tmp_path: Path, options: list[str], sentence: str) -> None:
        told = catchment("serve", *options, "--port", "0", "--console-port", "0", data_dir=tmp_path, code=1)
        assert told.splitlines()[-1].endswith(sentence)

    def test_one_port_for_both_is_refused(self, tmp_path: Path) -> None:
        port = str(free_port())
        told = catchment("serve", "--port", port, "--console-port", port, data_dir=tmp_path, code=1)
        assert "choose another with --console-port" in told


class SlowClient:
    """A request of which the server has begun to read the body."""

    def __init__(self, url: str, headers: dict[str, str], body: object) -> None:
        address = httpx.URL(url)
        self._body = json.dumps(body).encode()
        self._socket = socket.create_connection((address.host, address.port), timeout=WITHIN_S)
        sent = {"Host": address.host, "Content-Length": str(len(self._body)), "Expect": "100-continue"} | headers
        head = [f"POST {address.path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items()), "", ""]
        self._socket.sendall("\r\n".join(head).encode())
        assert self._socket.recv(100).startswith(b"HTTP/1.1 100 ")  # said when the body is asked for
        self._socket.sendall(self._body[:10])

    def finish(self) -> bytes:
        """Sends the rest; the answer's status line."""
        with self._socket:
            self._socket.sendall(self._body[10:])
            return self._socket.recv(10_000).partition(b"\r\n")[0]

    def leave(self) -> None:
        """Sends nothing more."""
        self._socket.close()


class Burst:
    """Clients that send one request after the other until nobody takes them any more."""

    def __init__(self, app: AppOf) -> None:
        self._app = app
        self.acknowledged: list[str] = []

    def run(self, client: int) -> None:
        with httpx.Client(trust_env=False, timeout=WITHIN_S) as http:
            for number in range(1_000_000):
                name = f"burst-{client}-{number}"
                body = json.dumps(ACTION | {"action_name": name})
                try:
                    answer = http.post(
                        self._app.server.ingest + "/v1/actions", content=body, headers=self._app.moesif_headers
                    )
                except httpx.TransportError:
                    return
                assert answer.status_code == 201
                self.acknowledged.append(name)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: str(number.name))
def test_stopping_cuts_no_request_off_and_keeps_all_that_was_accepted(tmp_path: Path, number: signal.Signals) -> None:
    server = Server(tmp_path, "--workers", "2")
    app = AppOf(server, "default")
    padding = {"padding": "x" * 100_000}
    slow = [
        SlowClient(
            server.ingest + "/v1/actions",
            app.moesif_headers,
            ACTION | {"action_name": f"slow-{n}", "metadata": padding},
        )
        for n in range(CLIENTS)
    ]
    token = {"Authorization": server.api.headers["authorization"]}
    question = SlowClient(server.console + "/api/sql", token, {"query": "SELECT 1"})
    burst = Burst(app)
    with ThreadPoolExecutor(CLIENTS) as pool:
        sending = [pool.submit(burst.run, client) for client in range(CLIENTS)]
        until(lambda: len(burst.acknowledged) >= BURST, within_s=WITHIN_S)
        server.process.send_signal(number)
        for client in sending:
            client.result(WITHIN_S)  # the port is closed
    assert [client.finish() for client in slow] == [b"HTTP/1.1 201 Created"] * CLIENTS
    until(lambda: not listens(server.console), within_s=WITHIN_S)
    assert question.finish() == b"HTTP/1.1 200 OK"
    assert server.stop() == 0
    assert not (tmp_path / "run.json").exists()
    told = catchment("sql", "SELECT name FROM events", "--format", "json", data_dir=tmp_path)
    stored = sorted(row["name"] for row in json.loads(told))
    assert stored == sorted([*burst.acknowledged, *(f"slow-{n}" for n in range(CLIENTS))])


def listens(url: str) -> bool:
    address = httpx.URL(url)
    try:
        socket.create_connection((address.host, address.port)).close()
    except OSError:
        return False
    return True


def test_a_stop_while_it_starts_is_clean(tmp_path: Path) -> None:
    lock = hold(tmp_path / CORE_LOCK)  # so that it goes on starting, however late the signal comes
    assert lock is not None
    try:
        with terminal(tmp_path, "--port", "0", "--console-port", "0") as shown:
            until(lambda: len(children(shown.process.pid)) == 2, within_s=WITHIN_S)
            parts = children(shown.process.pid)
            assert shown.stop(signal.SIGINT) == 0
    finally:
        LocalDisk().unlock(lock)
    assert shown.printed == ""
    assert "Traceback" not in shown.errors
    assert not any(map(alive, parts))


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose parts are killed."""
    running = Server(tmp_path_factory.mktemp("victim"), "--workers", "2")
    yield running
    assert running.stop() == 0


class TestKilled:
    @pytest.mark.parametrize(
        "choose",
        [
            pytest.param(lambda server: server.parts("edge")[1], id="edge worker"),
            pytest.param(lambda server: server.parts("edge")[0], id="edge parent"),
            pytest.param(lambda server: server.parts("core")[0], id="core"),
        ],
    )
    def test_a_part_is_started_again_and_serving_goes_on(
        self, victim: Server, choose: Callable[[Server], int], request: pytest.FixtureRequest
    ) -> None:
        app = AppOf(victim, "default")
        killed = choose(victim)
        os.kill(killed, signal.SIGKILL)
        until(lambda: not alive(killed), within_s=WITHIN_S)
        name = request.node.name

        def accepted() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return app.moesif("/v1/actions", ACTION | {"action_name": name}).status_code == 201
            return False

        def whole() -> bool:
            return len(victim.parts("edge")) == 3 and len(victim.parts("core")) == 1

        def visible() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return bool(victim.sql("SELECT 1 FROM events WHERE name = {name:String}", name=name))
            return False

        until(accepted, within_s=WITHIN_S)
        until(whole, within_s=WITHIN_S)
        until(visible, within_s=WITHIN_S)
        assert killed not in (*victim.parts("edge"), *victim.parts("core"))

    def test_a_typo_in_the_file_stops_neither_a_part_from_being_started_again_nor_a_command(
        self, victim: Server
    ) -> None:
        app = AppOf(victim, "default")
        file = victim.data_dir / "catchment.toml"
        sound = file.read_text()
        file.write_text(sound + "\nx = [")
        try:
            for part in ("edge", "core"):
                killed = victim.parts(part)[0]
                os.kill(killed, signal.SIGKILL)
                until(lambda killed=killed: not alive(killed), within_s=WITHIN_S)  # type: ignore[misc]

            def accepted() -> bool:
                with contextlib.suppress(httpx.TransportError):
                    return app.moesif("/v1/actions", ACTION).status_code == 201
                return False

            until(accepted, within_s=WITHIN_S)
            until(lambda: answers(victim), within_s=WITHIN_S)
            assert "count" in catchment("sql", "SELECT count() AS count FROM events", data_dir=victim.data_dir)
            assert "1 mistake" in catchment("config", "check", data_dir=victim.data_dir, code=2)
        finally:
            file.write_text(sound)

    def test_commands_wait_for_a_core_that_is_started_again(
        self, victim: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(asking, "WAIT_S", WITHIN_S)  # it dies for the third time here, and is started again later
        [core] = victim.parts("core")
        os.kill(core, signal.SIGKILL)
        until(lambda: not alive(core), within_s=WITHIN_S)
        assert run(["sql", "SELECT 42 AS a", "--format", "csv", "--data-dir", str(victim.data_dir)]) == 0
        assert capsys.readouterr() == ("a\n42\n", "")


def answers(server: Server) -> bool:
    """Whether the core answers, which may be one that was started again."""
    with contextlib.suppress(httpx.TransportError):
        return server.api.get("/health/live").status_code == 200
    return False


def test_parts_end_with_their_supervisor_and_the_next_server_takes_over(tmp_path: Path) -> None:
    ports = str(free_port()), str(free_port())
    first = Server(tmp_path, "--workers", "2", ports=ports)
    app = AppOf(first, "default")
    assert app.moesif("/v1/actions", ACTION).status_code == 201
    parts = [*first.parts("edge"), *first.parts("core")]
    assert len(parts) == 4
    first.process.kill()
    first.stop(check_books=False)
    # At once, and on the same ports: as a service manager does it.
    with terminal(tmp_path, "--port", ports[0], "--console-port", ports[1]) as shown:
        shown.await_ready()
        until(lambda: not any(map(alive, parts)), within_s=WITHIN_S)
        told = catchment("sql", "SELECT name FROM events", "--format", "csv", data_dir=tmp_path)
        assert told == "name\nA\n"
    assert shown.process.returncode == 0


class TestApi:
    @pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer wrong", "Basic {token}", "{token}", "Bearer é"])
    @pytest.mark.parametrize(
        ("method", "path"), [("POST", "/api/sql"), ("GET", "/api/tail"), ("GET", "/api/status"), ("GET", "/metrics")]
    )
    def test_without_the_token_everything_is_refused(
        self, server: Server, method: str, path: str, authorization: str
    ) -> None:
        headers = [(b"authorization", authorization.format(token=TOKEN).encode())]
        answer = server.http.request(method, server.console + path, headers=headers, json={"query": "SELECT 1"})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "`catchment token` makes another" in answer.json()["error"]

    def test_the_token_is_taken_in_any_case_of_its_scheme(self, server: Server) -> None:
        headers = {"authorization": f"bearer {TOKEN}"}
        answer = server.http.post(server.console + "/api/sql", headers=headers, json={"query": "SELECT 1 AS one"})
        assert answer.json() == {"columns": [{"name": "one", "type": "UInt8"}], "rows": [{"one": 1}]}
        assert answer.headers["cache-control"] == "no-store"

    @pytest.mark.parametrize(
        ("body", "sentence"),
        [
            ("", "truncated"),
            ("{", "truncated"),
            ("[]", "Expected `object`"),
            ("{}", "missing required field `query`"),
            ('{"query": 1}', "$.query"),
            ('{"query": null}', "$.query"),
            ('{"query": "SELECT 1", "limit": 1}', "unknown field `limit`"),
            ('{"query": "SELECT 1", "parameters": []}', "$.parameters"),
            ('{"query": "SELECT 1", "parameters": null}', "$.parameters"),
            (b'{"query": "\xff"}', "UTF-8"),
            ('{"query": "SELECT \'\\ud800\'"}', "not understood"),
            ('{"query": "SELECT 1", "parameters": {"x": ' + "[" * 50_000, "recursion"),
        ],
    )
    def test_a_body_that_is_not_understood_is_refused_with_the_reason(
        self, server: Server, body: str | bytes, sentence: str
    ) -> None:
        answer = server.api.post("/api/sql", content=body)
        assert answer.status_code == 400, answer.text
        assert list(answer.json()) == ["error"]
        assert sentence in answer.json()["error"]

    @pytest.mark.parametrize("declared", [True, False])
    def test_a_body_that_is_too_large_is_refused(self, server: Server, declared: bool) -> None:
        part = b" " * 100_000
        answer = server.api.post("/api/sql", content=part * 30 if declared else iter([part] * 30))
        assert (answer.status_code, answer.json()) == (413, {"error": "the body is larger than 1048576 bytes"})

    @pytest.mark.parametrize(
        ("kind", "value", "bound"),
        [
            ("String", "1); DROP TABLE events; --", "1); DROP TABLE events; --"),
            ("String", 'it\'s "q" \\ \n\t é \0 {x:String}', 'it\'s "q" \\ \n\t é \0 {x:String}'),
            ("String", "", ""),
            ("Int64", -5, -5),
            ("UInt64", 2**63 + 1, 2**63 + 1),
            ("Float64", 1.5, 1.5),
            ("Bool", True, True),
            ("Nullable(String)", None, None),
            ("Array(String)", ["a'b", "c"], ["a'b", "c"]),
            ("DateTime64(3)", "2026-01-02 03:04:05.678", "2026-01-02 03:04:05.678"),
        ],
    )
    def test_parameters_are_bound(self, server: Server, kind: str, value: Any, bound: Any) -> None:
        assert server.sql(f"SELECT {{x:{kind}}} AS x", x=value) == [{"x": bound}]

    @pytest.mark.parametrize(
        ("query", "parameters", "sentence"),
        [
            ("SELECT * FROM nowhere", {}, "nowhere"),
            ("SELEC 1", {}, "Syntax error"),
            ("SELECT 1; SELECT 2", {}, "Multi-statements are not allowed"),
            ("DROP TABLE event_rows", {}, "not DROP"),
            ("SELECT {x:String}", {}, "no value was given for x"),
            ("SELECT 1", {"x": "1"}, "no place for the parameter 'x'"),
            ("SELECT {x:UInt8}", {"x": "many"}, "cannot be parsed as UInt8"),
            ("SELECT * FROM file('/etc/passwd')", {}, "file() is not allowed here"),
            ("SELECT '\\xff'", {}, "UTF-8"),
        ],
    )
    def test_a_query_that_fails_is_told_in_a_sentence(
        self, server: Server, query: str, parameters: dict[str, Any], sentence: str
    ) -> None:
        answer = server.api.post("/api/sql", json={"query": query, "parameters": parameters})
        assert answer.status_code == 400, answer.text
        assert list(answer.json()) == ["error"]
        assert sentence in answer.json()["error"]
        assert "\n" not in answer.json()["error"]

    @pytest.mark.parametrize(
        ("method", "path", "status", "allowed"),
        [
            ("GET", "/api/sql", 405, "POST"),
            ("PUT", "/api/sql", 405, "POST"),
            ("POST", "/api/tail", 405, "GET"),
            ("DELETE", "/api/status", 405, "GET"),
            ("GET", "/", 404, None),
            ("POST", "/api/nothing", 404, None),
            ("GET", "/api/%00%ff", 404, None),
        ],
    )
    def test_what_is_not_there_is_told_in_json(
        self, server: Server, method: str, path: str, status: int, allowed: str | None
    ) -> None:
        answer = server.api.request(method, path)
        assert answer.status_code == status
        assert "is not served here" in answer.json()["error"]
        assert (allowed or "") in answer.headers.get("allow", "")

    @pytest.mark.parametrize("query", ["after=yesterday", "source=", "limit=1", "after='"])
    def test_tail_refuses_what_it_does_not_know(self, server: Server, query: str) -> None:
        answer = server.api.get(f"/api/tail?{query}")
        assert answer.status_code == (200 if query == "source=" else 400)
        assert "Traceback" not in answer.text
