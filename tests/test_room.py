"""Out of room, against a running server: it stops before anything breaks, says so, and comes back by itself with all
that it had accepted."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import tomlkit

from catchment import config
from catchment.settings import MIB
from tests.conftest import AppOf, Server, status, until, write_apps

WITHIN_S = 120.0
DISK_BYTES, FLOOR_BYTES = 400 * MIB, 64 * MIB
LOG_BYTES = 2 * MIB


@contextmanager
def running(folder: Path, log: dict[str, int]) -> Iterator[Server]:
    """A server with two edge processes and these settings of the log, which stops in order."""
    write_apps(folder, ["default"])
    file = folder / config.FILE_NAME
    document: Any = tomlkit.parse(file.read_text())
    document["log"] = log
    document["sql"] = {"seconds_max": 5}  # a command waits a little longer than that for a core that hangs
    file.write_text(tomlkit.dumps(document))
    server = Server(folder, "--workers", "2")
    try:
        yield server
        assert server.stop() == 0
    finally:
        server.stop(check_books=False)


def ready(server: Server) -> set[tuple[int, str]]:
    """What `/health/ready` answers, over connections that reach every edge process."""
    found = set()
    for _ in range(20):  # that all of them reach the same one is one chance in a million
        with httpx.Client(trust_env=False, timeout=60) as client:
            answer = client.get(server.ingest + "/health/ready")
            found.add((answer.status_code, answer.json()["status"]))
    return found


@contextmanager
def core_stopped(server: Server) -> Iterator[None]:
    """The core hangs inside it."""
    parts = server.parts("core")
    for pid in parts:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in parts:
            os.kill(pid, signal.SIGCONT)


class Sender:
    """Sends actions, each with an id of its own, and remembers which were accepted."""

    def __init__(self, server: Server) -> None:
        self._app = AppOf(server, "default")
        self._sent = 0
        self.accepted: set[str] = set()
        self.statuses: set[int] = set()

    def send(self, bytes_each: int = 100) -> httpx.Response:
        self._sent += 1
        name = f"id-{self._sent}"
        body = {"action_name": "A", "transaction_id": name, "request": {}, "metadata": {"x": "x" * bytes_each}}
        answer = self._app.moesif("/v1/actions", body)
        self.statuses.add(answer.status_code)
        if answer.status_code == 201:
            self.accepted.add(name)
        return answer

    def all_found_once(self, server: Server) -> bool:
        rows = server.sql("SELECT event_id FROM events WHERE source = 'moesif'")
        found = [row["event_id"] for row in rows]
        assert len(found) == len(set(found))
        return self.accepted <= set(found)


@pytest.fixture
def tight(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, which is small."""
    folder = tmp_path / "tight"
    folder.mkdir()
    mounted = None
    if sys.platform == "linux" and shutil.which("mount"):
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)], check=False
        )
    if mounted is None or mounted.returncode:
        pytest.skip("wants to mount a file system in memory, which is for root on Linux")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_up(file: Path, free_bytes: int) -> None:
    """Grows the file until only so much is free on its disk."""
    with file.open("ab", buffering=0) as others:
        while (spare := shutil.disk_usage(file.parent).free - free_bytes) > 0:
            with suppress(OSError):
                others.write(bytes(min(MIB, spare)))


def test_a_server_that_others_leave_no_room_comes_back_by_itself_and_has_lost_nothing(tight: Path) -> None:
    with running(tight / "data", {"free_bytes_min": FLOOR_BYTES, "segment_bytes_max": MIB}) as server:
        sender = Sender(server)
        others = tight / "others"
        with core_stopped(server):  # so that the log has something that is not loaded
            for _ in range(200):
                sender.send()
            fill_up(others, FLOOR_BYTES // 2)
            until(lambda: ready(server) == {(503, "disk_nearly_full")}, within_s=WITHIN_S)
            refused = sender.send()
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
            assert refused.json()["moesif_error"]["code"] == "unavailable"
            assert server.http.get(server.ingest + "/health/live").status_code == 200
            fill_up(others, 0)
        assert sender.send().status_code == 503

        def tries() -> bool:
            fill_up(others, 0)
            loader = server.api.get("/api/status").json()["loader"]
            return loader["failing_for_seconds"] is not None

        until(tries, within_s=WITHIN_S)  # and fails, for there is no room at all
        assert len(sender.accepted) == 200
        os.truncate(others, 0)
        until(lambda: ready(server) == {(200, "ok")}, within_s=WITHIN_S)
        assert sender.send().status_code == 201
        until(lambda: sender.all_found_once(server), within_s=WITHIN_S)
        assert sender.statuses == {201, 503}
        assert server.sql("SELECT count() AS n FROM rejections") == [{"n": 0}]


def test_with_the_core_stopped_the_log_grows_to_its_limit_and_is_loaded_later(tmp_path: Path) -> None:
    with running(tmp_path, {"bytes_max": LOG_BYTES, "segment_bytes_max": 256 * 1024}) as server:
        sender = Sender(server)
        with core_stopped(server):
            until(lambda: sender.send(20_000).status_code == 503, within_s=WITHIN_S)
            until(lambda: ready(server) == {(503, "log_full")}, within_s=WITHIN_S)
            told = json.loads(status(tmp_path, "--format", "json", code=1))
            assert told["attention"] == ["edge", "core", "room"]
            assert told["running"]["pid"] == server.process.pid
            assert told["unanswered"].startswith("no answer from ")
            room = told["room"]
            assert room["unread_bytes"] >= LOG_BYTES == room["unread_bytes_max"]
            assert room["short"] == "log_full"
            assert (room["bytes_per_second"], room["seconds_left"]) == (None, None)
            held = sum(path.stat().st_size for path in (tmp_path / "log").rglob("*.ndjson"))
            assert held < 2 * LOG_BYTES
        until(lambda: ready(server) == {(200, "ok")}, within_s=WITHIN_S)
        assert sender.send().status_code == 201
        until(lambda: sender.all_found_once(server), within_s=WITHIN_S)
        found = server.api.get("/api/status").json()["room"]
        assert (found["short"], found["unread_bytes_max"]) == ("", LOG_BYTES)
        assert sender.statuses == {201, 503}


def test_status_says_how_long_the_log_will_last_while_nothing_is_loaded(tmp_path: Path) -> None:
    with running(tmp_path, {"bytes_max": 1024 * MIB}) as server:
        sender = Sender(server)
        with core_stopped(server):
            told = ""
            with subprocess.Popen(
                [sys.executable, "-m", "catchment", "status", "--data-dir", str(tmp_path)],
                stdout=subprocess.PIPE,
                text=True,
            ) as command:
                while command.poll() is None:
                    sender.send(1000)
                assert command.stdout is not None
                told = command.stdout.read()
        assert " left at " in told, told
        assert " wait in the log, " in told
