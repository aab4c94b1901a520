"""Health of the core: it lives while it answers; it is ready while what comes in can be loaded."""

import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import httpx
import pytest

from catchment import config
from catchment.api import app as core
from catchment.api.access import Access
from catchment.api.app import OpenedCore, core_app
from catchment.api.requests import watched
from catchment.loader import Loader
from catchment.log.segment import group, segment_name
from catchment.settings import Loader as LoaderSettings
from catchment.store.store import Rows
from catchment.watch import FileWatch
from tests.conftest import TOKEN, AppOf, Server, status, write_apps
from tests.edge.test_pressure import ACTION
from tests.test_loader import ListLog, PickyStore, line


def client(core_application: object) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=core_application)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url="http://core")


class Waiting:
    """A core whose store is down, and a loader that is at work."""

    def __init__(self, folder: Path) -> None:
        write_apps(folder, ["default"])
        self.log, self.store = ListLog(line(1)), PickyStore()
        self.store.down = 1_000_000
        self.loader = Loader(self.log, self.store, LoaderSettings())
        settings = config.load(folder)
        self.app = core_app(
            Access(settings.console, None, FileWatch(folder / config.FILE_NAME), lambda: settings.console),
            settings,
            folder,
            open_core=lambda: OpenedCore(self.store, self.log, self.loader),
            openapi={"openapi": "3.1.0"},
            take_snapshot=partial(pytest.fail, "nobody asks for one"),
        )


async def status_of(answers: httpx.AsyncClient, path: str) -> tuple[int, str]:
    answer = await answers.get(path)
    return answer.status_code, answer.json().get("reason", "")


async def test_it_is_ready_while_the_store_takes_what_comes(tmp_path: Path) -> None:
    made = Waiting(tmp_path)
    async with client(made.app) as answers:
        assert await status_of(answers, "/health/ready") == (503, "the store is not open")
        async with made.app.router.lifespan_context(made.app):
            while (found := await status_of(answers, "/health/ready"))[0] == 200:
                pass  # until the first insert has failed
            assert found == (
                503,
                "nothing can be loaded into the store; `catchment status` tells why, and the log keeps everything",
            )
            assert await status_of(answers, "/health/live") == (200, "")
            made.store.down = 0
            while (await status_of(answers, "/health/ready"))[0] == 503:
                pass
            assert made.store.lines == [line(1)]
        assert await status_of(answers, "/health/ready") == (503, "the store is not open")


async def test_a_loader_that_has_ended_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Waiting(tmp_path)
    monkeypatch.setattr(made.loader, "run", lambda stop: None)
    async with client(made.app) as answers, made.app.router.lifespan_context(made.app):
        for thread in threading.enumerate():
            if thread.name == "loader":
                thread.join()
        assert await status_of(answers, "/health/ready") == (503, "the loader has ended; restart the server")


async def test_a_defect_is_answered_500_and_told_in_a_line_that_the_answer_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> Rows:
        raise RuntimeError("SECRET")

    made = Waiting(tmp_path)
    monkeypatch.setattr(made.store, "query", fail)
    async with client(watched(made.app)) as answers, made.app.router.lifespan_context(made.app):
        answer = await answers.post(
            "/api/sql", json={"query": "SELECT 1"}, headers={"authorization": f"Bearer {TOKEN}"}
        )
    assert (answer.status_code, answer.json()) == (500, {"error": "internal error; the server's log has it"})
    [told] = [record for record in caplog.records if "defect" in record.message]
    assert vars(told)["request_id"] == answer.headers["x-request-id"]
    assert "RuntimeError at tests/test_health.py:" in told.message
    assert "SECRET" not in caplog.text


@pytest.mark.parametrize("path", [core.LIVE_PATH, core.READY_PATH])
def test_both_ports_tell_anybody(server: Server, path: str) -> None:
    for url in (server.ingest, server.console):
        answer = server.http.get(url + path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_a_folder_of_the_log_that_cannot_be_read_holds_up_no_other_and_is_told_everywhere(tmp_path: Path) -> None:
    write_apps(tmp_path, ["default"])
    held = tmp_path / "log" / "edge-5" / segment_name(1)
    held.parent.mkdir(parents=True)
    held.write_bytes(group(b'{"segment":{"version":2,"writer":"edge-5","sequence":1}}\n'))
    output = tmp_path / "output"
    output.mkdir()
    server = Server(tmp_path, output=output)
    try:
        app = AppOf(server, "default")
        for number in range(5):
            assert app.moesif("/v1/actions", ACTION | {"transaction_id": str(number)}).status_code == 201
            app.events(number + 1)
        answer = server.http.get(server.console + "/health/ready")
        assert (answer.status_code, answer.json()) == (
            200,
            {
                "status": "ok",
                "warning": "what waits in a folder of the log cannot be read; all else is loaded, and"
                " `catchment status` tells why",
            },
        )
        loader = server.api.get("/api/status").json()["loader"]
        assert (loader["failing_for_seconds"], loader["last_error"]) == (None, "")
        [reason] = loader["unreadable"]
        assert reason.startswith(f"{held}: a later version of Catchment wrote it")
        assert f"log      cannot be read: {reason}" in status(tmp_path, code=1)
        metrics = server.api.get("/metrics").text
        assert "\ncatchment_log_unreadable_folders 1.0\n" in metrics
        assert "\ncatchment_loader_failing 0.0\n" in metrics
    finally:
        assert server.stop() == 0
    told = (output / "stderr").read_text()
    assert told.count("a later version of Catchment wrote it") == 1
    assert "an attempt failed" not in told
    command = [sys.executable, "-m", "catchment", "sql", "SELECT 1", "--data-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "a later version of Catchment wrote it" in done.stderr, "an answer may lack what waits there"
