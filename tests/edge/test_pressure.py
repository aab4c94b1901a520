"""Under pressure, over the wire: slow and silent clients, too much at once, large heads. Each answer is the vendor's,
and afterwards everything is as before."""

import gzip
import itertools
import json
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import tomlkit

from catchment import config
from catchment.edge import memory
from catchment.edge.gate import SLOW_AFTER_S
from tests.conftest import AppOf, Server, until, write_apps

ACTION = {"action_name": "A", "request": {"uri": "https://x/y"}}
BATCH = {"events": [{"name": "ue.x"}]}
MOLOCO = {"event_type": "HOME", "channel_type": "SITE", "timestamp": 1617870506121, "user_id": "u"}
PLACES = 4
HEAD_SECONDS, BODY_SECONDS = 1.5, 2.0
HEAD_BYTES = 8192
BODIES_BYTES = 1024 * 1024
PATIENCE_S = 60.0
CAUGHT_UP_WITHIN_S = 180.0  # with all that a flood left in the log
ATTEMPTS = 3
HTTP2_BEGINS = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))  # with empty settings
HTTP2_SETTINGS = 4  # the type of a frame


def start(folder: Path, **ingest: float) -> Server:
    """A server with one edge process and these settings of its own."""
    crowds = [f"{name}{attempt}" for name in ("crowd", "grown") for attempt in range(ATTEMPTS)]
    write_apps(folder, ["default", *(f"app{number}" for number in range(8)), *crowds])
    file = folder / config.FILE_NAME
    document: Any = tomlkit.parse(file.read_text())
    document["ingest"] = ingest
    document["sql"] = {"rows_max": 1_000_000}  # a fast machine takes more in a flood than an answer holds by default
    file.write_text(tomlkit.dumps(document))
    return Server(folder, "--workers", "1")


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Waits for no head for long."""
    server = start(
        tmp_path_factory.mktemp("strict"),
        head_seconds_max=HEAD_SECONDS,
        head_bytes_max=HEAD_BYTES,
        connections_max=8,
    )
    yield server
    assert server.stop() == 0


@pytest.fixture(scope="module")
def strict_with_bodies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Waits for no body for long, but for heads, so that each gets as far as its body."""
    server = start(tmp_path_factory.mktemp("strict_with_bodies"), body_seconds_max=BODY_SECONDS)
    yield server
    assert server.stop() == 0


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Has little room."""
    server = start(tmp_path_factory.mktemp("small"), open_requests_max=PLACES, bodies_bytes_max=BODIES_BYTES)
    yield server
    assert server.stop() == 0


class Raw:
    """A connection on which the test says what is sent when."""

    def __init__(self, server: Server) -> None:
        url = httpx.URL(server.ingest)
        self.socket = socket.create_connection((url.host, url.port or 80), timeout=PATIENCE_S)

    def head(
        self, path: str, headers: dict[str, str], length: int | None, method: str = "POST", *, then: bytes = b""
    ) -> None:
        """Sends the head of a request, and what follows it at once; without a length the body comes in chunks."""
        framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
        lines = [
            f"{method} {path} HTTP/1.1",
            "Host: x",
            framing,
            *(f"{key}: {value}" for key, value in headers.items()),
        ]
        self.send("\r\n".join([*lines, "", ""]).encode() + then)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def chunk(self, data: bytes) -> None:
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the next answer."""
        file = self.socket.makefile("rb")
        status = int(file.readline().split()[1])
        headers = {}
        while line := file.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return status, headers, file.read(int(headers["content-length"]))

    def is_closed(self) -> bool:
        """Whether the server ends the connection without another byte; waits for that."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.socket.close()


def calls(app: AppOf) -> dict[str, tuple[str, dict[str, str], Any]]:
    return {
        "moesif": ("/v1/actions", app.moesif_headers, ACTION),
        "batch": (app.batch_path + "/u", app.batch_headers, BATCH),
        "moloco": (app.moloco_path, app.moloco_headers, MOLOCO),
    }


def asked(server: Server, headers: dict[str, str], opened: ExitStack) -> tuple[Raw, int]:
    """A connection to a server that waits for no head for long, and what it answered on it. Where the machine stood
    still before the head was sent, the server has given the connection up by then; so it is another one."""
    while True:
        began = time.monotonic()
        raw = opened.enter_context(closing(Raw(server)))
        with suppress(OSError):
            raw.head("/health/live", headers, 0, "GET")
        if time.monotonic() - began < HEAD_SECONDS / 2:
            return raw, raw.answer()[0]


def fill(server: Server, app: AppOf, opened: ExitStack) -> list[Raw]:
    """Takes all places, with bodies of which one byte is missing."""
    held = []
    body = json.dumps(ACTION).encode()
    for _ in range(PLACES):
        raw = opened.enter_context(closing(Raw(server)))
        raw.head("/v1/actions", app.moesif_headers, len(body), then=body[:-1])
        held.append(raw)
    return held


def busy(server: Server) -> bool:
    """Whether a call of some other application is refused."""
    return AppOf(server, "app7").moesif("/v1/actions", ACTION).status_code == 503


def while_bodies_are_young(server: Server, name: str, check: Callable[[AppOf], None]) -> None:
    """Checks it with an application of its own. A body that has been coming for `SLOW_AFTER_S` gives way to newcomers;
    so where the machine stood still for that long, what was seen of a server without room says nothing, and it is
    filled again."""
    for attempt in range(ATTEMPTS):
        until(lambda: not busy(server), within_s=PATIENCE_S)
        began = time.monotonic()
        try:
            return check(AppOf(server, f"{name}{attempt}"))
        except Exception:
            if attempt == ATTEMPTS - 1 or time.monotonic() - began < SLOW_AFTER_S:
                raise
    raise AssertionError


class TestSlowClients:
    @pytest.mark.parametrize(
        "sent", [b"", b"P", b"GET /health/live HTTP/1.1\r\nHost: x\r\n"], ids=["nothing", "a byte", "half a head"]
    )
    def test_a_connection_on_which_no_head_comes_is_closed(self, strict: Server, sent: bytes) -> None:
        with closing(Raw(strict)) as raw:
            raw.send(sent)
            assert raw.is_closed()

    def test_a_head_that_comes_byte_by_byte_is_not_waited_for(self, strict: Server) -> None:
        with closing(Raw(strict)) as raw, pytest.raises(OSError):  # noqa: PT011, PT012
            until_s = time.monotonic() + PATIENCE_S
            while time.monotonic() < until_s:
                raw.send(b"G")
                time.sleep(0.05)

    def test_a_connection_that_is_kept_and_not_used_is_closed(self, strict: Server) -> None:
        with ExitStack() as opened:
            raw, status = asked(strict, {}, opened)
            assert status == 200
            assert raw.is_closed()

    def test_a_head_that_is_too_large_is_refused(self, strict: Server) -> None:
        with ExitStack() as opened:
            raw, status = asked(strict, {"X-Long": "x" * HEAD_BYTES}, opened)
            assert status == 431
            assert raw.is_closed()

    @pytest.mark.parametrize("vendor", ["moesif", "batch", "moloco"])
    def test_a_body_that_does_not_come_is_refused_in_the_vendors_form_and_kept(
        self, strict_with_bodies: Server, vendor: str
    ) -> None:
        app = AppOf(strict_with_bodies, "app0")
        path, headers, _ = calls(app)[vendor]
        with closing(Raw(strict_with_bodies)) as raw:
            raw.head(path, headers, 100, then=b"{")
            status, answered, body = raw.answer()
            assert raw.is_closed()
        assert (status, answered["content-type"]) == (408, "application/json")
        reason = "the body did not come in time"
        assert (
            json.loads(body)
            == {
                "moesif": {"moesif_error": {"code": "timeout", "msg": reason}},
                "batch": {"code": 32, "type": "MALFORMED_JSON_BODY", "message": reason},
                "moloco": {"code": 4, "message": reason, "details": []},
            }[vendor]
        )
        query = "SELECT status, payload FROM rejections WHERE app = 'app0' AND source = {source:String}"
        assert strict_with_bodies.rows_when(1, query, source=vendor) == [{"status": 408, "payload": ""}]

    def test_a_large_body_that_stops_coming_is_refused_too(self, strict_with_bodies: Server) -> None:
        app = AppOf(strict_with_bodies, "app1")
        with closing(Raw(strict_with_bodies)) as raw:
            raw.head("/v1/actions/batch", app.moesif_headers, 500_000, then=b"[" * 200_000)
            assert raw.answer()[0] == 408

    def test_http_2_is_not_spoken(self, strict: Server) -> None:
        with closing(Raw(strict)) as raw:
            heard = b""
            with suppress(ConnectionError):  # it may end the connection without reading to the end
                raw.send(HTTP2_BEGINS)
                heard = raw.socket.recv(100)
            assert heard[:8] in (b"HTTP/1.1", b"")

    def test_connections_beyond_the_limit_wait_and_are_served(self, strict: Server) -> None:
        with ExitStack() as opened:
            for _ in range(20):
                opened.enter_context(closing(Raw(strict)))
            assert asked(strict, {}, opened)[1] == 200


class TestFlood:
    """Far more at once than it can take: large bodies and small ones, from clients that come again at once."""

    CLIENTS, SECONDS = 48, 8.0

    @pytest.fixture
    def flooded(self, tmp_path: Path) -> Iterator[Server]:
        server = start(tmp_path, open_requests_max=16, bodies_bytes_max=BODIES_BYTES, connections_max=256)
        yield server
        assert server.stop() == 0

    @pytest.mark.skipif(sys.platform != "linux", reason="looks at the memory of a process as Linux tells it")
    def test_memory_stays_within_its_bound_and_what_was_accepted_is_found_once(self, flooded: Server) -> None:
        app = AppOf(flooded, "app0")
        edge_processes = flooded.parts("edge")[1:]
        deadline = time.monotonic() + self.SECONDS
        with ThreadPoolExecutor(self.CLIENTS) as threads:
            rounds = [threads.submit(self.client, app, number, deadline) for number in range(self.CLIENTS)]
            outcomes = [outcome for done in rounds for outcome in done.result()]
        answers = {(status, retry_after) for status, retry_after, _ in outcomes}
        assert answers == {(201, None), (503, "5")}
        settings = config.load(flooded.data_dir)
        for pid in edge_processes:
            found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
            assert found
            assert int(found[1]) * 1024 < memory.bytes_max(settings)
        accepted = {name for status, _, names in outcomes for name in names if status == 201}
        assert app.moesif("/v1/actions", ACTION | {"transaction_id": "after"}).status_code == 201
        query = "SELECT event_id FROM events WHERE app = 'app0'"

        def found_ids() -> list[str]:
            return [row["event_id"] for row in flooded.sql(query)]

        until(lambda: accepted | {"after"} <= set(found_ids()), within_s=CAUGHT_UP_WITHIN_S)
        found_once = found_ids()  # asked once: what no answer was heard of may still be on its way
        assert len(found_once) == len(set(found_once))

    def client(self, app: AppOf, number: int, deadline: float) -> list[tuple[int, str | None, list[str]]]:
        """Status, Retry-After and events of each call that was answered; one whose connection broke was not."""
        outcomes: list[tuple[int, str | None, list[str]]] = []
        with httpx.Client(trust_env=False, timeout=60, base_url=app.server.ingest) as http:
            for turn in itertools.count():
                if time.monotonic() > deadline:
                    return outcomes
                names = [f"{number}-{turn}-{index}" for index in range(2000 if number % 4 == 0 else 1)]
                body = json.dumps([ACTION | {"transaction_id": name, "metadata": {"x": "x" * 500}} for name in names])
                try:
                    answer = http.post("/v1/actions/batch", content=body, headers=app.moesif_headers)
                except httpx.TransportError:
                    continue
                outcomes.append((answer.status_code, answer.headers.get("retry-after"), names))
        raise AssertionError


def test_http_2_is_spoken_where_it_is_turned_on(tmp_path: Path) -> None:
    server = start(tmp_path, http2=True)
    with closing(Raw(server)) as raw:
        raw.send(HTTP2_BEGINS)
        assert raw.socket.recv(9)[3] == HTTP2_SETTINGS
    assert AppOf(server, "app0").moesif("/v1/actions", ACTION).status_code == 201
    assert server.stop() == 0


class TestTooMuchAtOnce:
    def test_more_requests_are_refused_in_the_vendors_form_before_their_bodies_and_not_kept(
        self, small: Server
    ) -> None:
        while_bodies_are_young(small, "crowd", lambda app: self.check_crowd(small, app))

    def check_crowd(self, small: Server, app: AppOf) -> None:
        reason = "too many requests are under way; try again"
        forms: dict[str, Any] = {
            "moesif": {"moesif_error": {"code": "unavailable", "msg": reason}},
            "batch": {"code": 2, "type": "MAINTENANCE_ERROR", "message": reason},
            "moloco": {"code": 14, "message": reason, "details": []},
        }
        with ExitStack() as opened:
            held = fill(small, app, opened)
            until(lambda: busy(small), within_s=PATIENCE_S)
            raw = opened.enter_context(closing(Raw(small)))
            raw.head("/v1/actions", app.moesif_headers, 5_000_000)
            status, headers, body = raw.answer()  # nothing of the body was sent
            assert (status, headers["retry-after"], json.loads(body)) == (503, "5", forms["moesif"])
            for vendor, (path, keys, element) in calls(app).items():
                for given in (keys, {}):  # whoever calls
                    answer = app.post(path, element, given)
                    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
                    assert answer.json() == forms[vendor]
            assert app.server.http.get(small.ingest + "/health/ready").status_code == 200
            assert app.server.http.get(small.ingest + "/v1/config", headers=app.moesif_headers).status_code == 200
            for raw in held:
                raw.send(b"}")
                assert raw.answer()[0] == 201
        assert app.moesif("/v1/actions", ACTION).status_code == 201
        app.events(PLACES + 1)
        assert app.rejections(0) == []

    def test_calls_without_a_key_whose_bodies_do_not_come_keep_nobody_out(self, small: Server) -> None:
        app = AppOf(small, "app6")
        with ExitStack() as opened:
            silent = [opened.enter_context(closing(Raw(small))) for _ in range(40)]  # 2.5 MiB, for which there is 1
            for raw in silent:
                raw.head("/v1/actions", {}, 64 * 1024)
            assert [app.moesif("/v1/actions", ACTION).status_code for _ in range(5)] == [201] * 5
            assert {raw.answer()[0] for raw in silent} == {401}
        app.events(5)

    def test_bodies_that_take_too_many_bytes_are_refused_and_the_largest_is_finished(self, small: Server) -> None:
        while_bodies_are_young(small, "grown", lambda app: self.check_grown(small, app))

    def check_grown(self, small: Server, app: AppOf) -> None:
        elements = json.dumps([ACTION] * 10).encode()
        padding = b" " * (BODIES_BYTES - 200_000)
        with closing(Raw(small)) as largest:
            largest.head("/v1/actions/batch", app.moesif_headers, None)
            largest.chunk(padding)
            until(lambda: busy(small), within_s=PATIENCE_S)
            answer = app.moesif("/v1/actions", ACTION)
            assert answer.json()["moesif_error"]["msg"] == "too many bytes of bodies are under way; try again"
            assert answer.headers["retry-after"] == "5"
            largest.chunk(elements)
            largest.send(b"0\r\n\r\n")
            assert largest.answer()[0] == 201
        assert app.moesif("/v1/actions", ACTION).status_code == 201
        app.events(11)

    def test_a_body_larger_than_the_bound_is_taken_where_it_is_alone(self, small: Server) -> None:
        app = AppOf(small, "app4")
        body = json.dumps([ACTION] * 10).encode() + b" " * (5 * BODIES_BYTES)
        assert app.moesif("/v1/actions/batch", body).status_code == 201
        assert len(app.events(10)) == 10

    def test_a_body_counts_as_large_as_it_is_without_compression(self, small: Server) -> None:
        app = AppOf(small, "app5")
        body = json.dumps([ACTION] * 10).encode() + b" " * (2 * BODIES_BYTES)
        headers = app.moesif_headers | {"Content-Encoding": "gzip"}
        small_ones = Raw(small)
        small_ones.head("/v1/actions", app.moesif_headers, None)
        small_ones.chunk(b"{")
        answered: list[int] = []

        def refused() -> bool:
            answered.append(app.post("/v1/actions/batch", gzip.compress(body), headers).status_code)
            return answered[-1] == 503

        with closing(small_ones):
            until(refused, within_s=PATIENCE_S)  # not before the server has seen that chunk
        until(lambda: not refused(), within_s=PATIENCE_S)  # not before it has seen the end of that connection
        app.events(10 * answered.count(201))
