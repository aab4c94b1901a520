"""Start and stop: the edge waits for nothing, a data dir has one server, and stopping has an end."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil
import pytest
from msgspec import Raw

from catchment import supervisor
from catchment.holding import CORE_LOCK, SERVE_LOCK, hold
from catchment.log.disk import LocalDisk
from catchment.log.folder import Folder
from catchment.parts import DRAIN_S
from catchment.record import EventRecord, encode_lines
from catchment.settings import Log
from tests.conftest import AppOf, Server, catchment, until, write_apps
from tests.ports import free_port
from tests.processes import alive, below
from tests.test_serve import SlowClient, Terminal, terminal

WITHIN_S = 90.0
BACKLOG_BYTES = 200_000_000
GROUP_BYTES = 4_000_000
SEGMENT_BYTES = 64 * 1024 * 1024
ACTION = {"action_name": "A", "request": {"uri": "https://x/y"}}
# What only the core or other commands need; each takes a good part of the time until the first request is answered.
HEAVY = ("chdb", "clickhouse_connect", "httpx", "jq", "prometheus_client", "starlette", "uvicorn", "catchment.wiring")
PROGRAMS = {"edge": "catchment.cli.edge_part", "serve": "catchment.cli.serving"}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_what_is_on_the_way_to_the_first_answer_imports_nothing_of_the_core(program: str) -> None:
    code = f"import sys, {program}; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.fixture
def backlog(tmp_path: Path) -> Path:
    """A data dir whose log holds much that was never loaded."""
    write_apps(tmp_path, ["default"])
    fill(tmp_path)
    return tmp_path


def fill(data_dir: Path) -> None:
    """Appends to the log what takes long to load."""
    folder = Folder(LocalDisk(), data_dir / "log", Log(segment_bytes_max=SEGMENT_BYTES))
    written = 0
    while written < BACKLOG_BYTES:
        lines = encode_lines([_record(written + number) for number in range(100)])
        group = lines * (GROUP_BYTES // len(lines))  # copies show once, and are as much work to load
        folder.commit([group])
        written += len(group)
    folder.close()


def waits(data_dir: Path) -> int:
    """Bytes that the log holds."""
    return sum(path.stat().st_size for path in (data_dir / "log").rglob("*.ndjson"))


def _record(number: int) -> EventRecord:
    return EventRecord(
        app="default",
        source="moesif",
        kind="action",
        event_id=f"e-{number}",
        received_us=1_772_445_600_000_000 + number,
        payload=Raw(b"{}"),
        name="A",
        time=datetime(2026, 3, 2, 10, tzinfo=UTC),
        undated=True,
    )


def taken(shown: Terminal, url: str, key: str) -> bool:
    assert shown.process.poll() is None, shown.errors
    with contextlib.suppress(httpx.TransportError):
        headers = {"X-Moesif-Application-Id": key}
        answer = httpx.post(f"{url}/v1/actions", json=ACTION, headers=headers, timeout=WITHIN_S, trust_env=False)
        return answer.status_code == 201
    return False


def test_the_edge_answers_while_the_core_is_away_and_whatever_the_log_holds(backlog: Path) -> None:
    key = AppKeys(backlog).moesif
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    lock = hold(backlog / CORE_LOCK)  # so the core can neither open the store nor answer
    assert lock is not None
    with terminal(backlog, "--port", str(port), "--console-port", "0") as shown:
        until(lambda: taken(shown, url, key), within_s=WITHIN_S)
        assert not (backlog / "run.json").exists()  # which is written when both parts are ready
        LocalDisk().unlock(lock)
        shown.await_ready()
        parts = _kill_all(shown)  # a crash, with nearly all of the log still to be loaded
        until(lambda: not any(map(alive, parts)), within_s=WITHIN_S)
    if waits(backlog) < BACKLOG_BYTES / 2:  # this process had to wait longer than the core
        fill(backlog)
    assert waits(backlog) > BACKLOG_BYTES / 2
    lock = hold(backlog / CORE_LOCK)
    assert lock is not None
    try:
        with terminal(backlog, "--port", str(port), "--console-port", "0") as shown:
            until(lambda: taken(shown, url, key), within_s=WITHIN_S)
            _kill_all(shown)
    finally:
        LocalDisk().unlock(lock)


class AppKeys:
    """The keys of a data dir that nothing runs on."""

    def __init__(self, data_dir: Path) -> None:
        text = (data_dir / "catchment.toml").read_text()
        found = re.search(r'application_ids = \["([^"]+)"\]', text)
        assert found
        self.moesif = found[1]


def _kill_all(shown: Terminal) -> list[int]:
    """The supervisor first, or it would start the others again."""
    parts = below(shown.process.pid)
    shown.process.kill()
    shown.process.wait()
    for pid in parts:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return parts


class TestOneServer:
    @pytest.mark.parametrize("part", ["edge", "core"])
    def test_a_part_by_hand_beside_a_server_is_refused_with_who_holds_it(self, server: Server, part: str) -> None:
        told = catchment(part, data_dir=server.data_dir, code=1)
        assert told == (
            f"{server.data_dir} is in use by a running Catchment (process {server.process.pid}), which has its own"
            " parts; stop it, or choose another --data-dir\n"
        )

    def test_a_server_that_is_just_starting_is_told_by_its_process(self, tmp_path: Path) -> None:
        write_apps(tmp_path, ["default"])
        lock = hold(tmp_path / SERVE_LOCK)
        assert lock is not None
        try:
            told = catchment("serve", "--port", "0", "--console-port", "0", data_dir=tmp_path, code=1)
        finally:
            LocalDisk().unlock(lock)
        assert f"is in use by a running Catchment (process {os.getpid()}); stop it" in told

    def test_what_a_dead_server_left_holds_nobody_up(self, tmp_path: Path) -> None:
        write_apps(tmp_path, ["default"])
        (tmp_path / SERVE_LOCK).write_text("1\n")
        (tmp_path / CORE_LOCK).write_text("1\n")
        (tmp_path / "run.json").write_text(
            '{"ingest": "http://127.0.0.1:1", "console": "http://127.0.0.1:1", "pid": 1}'
        )
        assert catchment("sql", "SELECT 1 AS a", "--format", "csv", data_dir=tmp_path) == "a\n1\n"
        with terminal(tmp_path, "--port", "0", "--console-port", "0") as shown:
            shown.await_ready()
            assert (tmp_path / SERVE_LOCK).read_text() == f"{shown.process.pid}\n"
        assert shown.process.returncode == 0

    def test_whoever_has_the_store_open_is_named(self, tmp_path: Path) -> None:
        write_apps(tmp_path, ["default"])
        lock = hold(tmp_path / CORE_LOCK)
        assert lock is not None
        try:
            told = catchment("sql", "SELECT 1", data_dir=tmp_path, code=1)
        finally:
            LocalDisk().unlock(lock)
        assert told == f"process {os.getpid()} has the store of {tmp_path} open; try again when it is done\n"


@pytest.fixture
def stubborn(tmp_path: Path) -> Iterator[Server]:
    """A server whose queries may take long."""
    write_apps(tmp_path, ["default"])
    with (tmp_path / "catchment.toml").open("a") as file:
        file.write("\n[sql]\nseconds_max = 8\n")
    server = Server(tmp_path)
    yield server
    server.stop(check_books=False)


def test_stopping_has_an_end_whatever_is_under_way(stubborn: Server) -> None:
    app = AppOf(stubborn, "default")
    for number in range(20):
        assert app.moesif("/v1/actions", ACTION | {"user_id": f"u{number}"}).status_code == 201
    stubborn.rows_when(20, "SELECT 1 FROM events")
    before = _seconds_of_work(stubborn)
    asked = threading.Thread(target=_ask_for_long, args=(stubborn,))
    asked.start()
    until(lambda: _seconds_of_work(stubborn) > before + 1, within_s=WITHIN_S)  # the query is under way
    never = SlowClient(stubborn.ingest + "/v1/actions", app.moesif_headers, ACTION)  # it sends no more of its body
    began = time.monotonic()
    stubborn.process.send_signal(signal.SIGTERM)
    stubborn.process.wait(sum(supervisor.STOP_WITHIN_S.values()) + 8 + WITHIN_S)
    assert time.monotonic() - began >= DRAIN_S  # the sender had that long
    asked.join(WITHIN_S)
    never.leave()
    assert not (stubborn.data_dir / "run.json").exists()
    told = catchment("sql", "SELECT count() AS n FROM events", "--format", "csv", data_dir=stubborn.data_dir)
    assert told == "n\n20\n"


def _ask_for_long(server: Server) -> None:
    query = "SELECT count() AS n FROM numbers(1000000000000) WHERE cityHash64(number) = 1"
    with contextlib.suppress(httpx.TransportError):
        httpx.post(
            f"{server.console}/api/sql", json={"query": query}, headers=dict(server.api.headers), timeout=WITHIN_S
        )


def _seconds_of_work(server: Server) -> float:
    """What the core has used of the processors."""
    [core] = server.parts("core")
    used = psutil.Process(core).cpu_times()
    return used.user + used.system
