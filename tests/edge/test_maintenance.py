"""Maintenance: nothing is accepted, everybody is told so, and nothing that was accepted is lost."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from catchment import maintenance
from catchment.maintenance import Maintenance, MaintenanceWatch
from tests.conftest import AppOf, Server, catchment, status, until, write_apps

ACTION = {"action_name": "A", "request": {"uri": "https://x/y"}}
BATCH = {"events": [{"name": "ue.x"}]}
MOLOCO = {"event_type": "HOME", "channel_type": "SITE", "timestamp": 1617870506121, "user_id": "u"}
TAKEN_WITHIN_S = 60.0
WORKERS = 2
CONNECTIONS = 200  # fewer reach every worker, but there is no saying how many


class TestState:
    def test_is_off_until_it_is_turned_on(self, tmp_path: Path) -> None:
        watch = MaintenanceWatch(tmp_path)
        assert (maintenance.state(tmp_path), watch.on, watch.look()) == (None, False, False)
        begun = maintenance.begin(tmp_path, "a new disk")
        assert begun.reason == "a new disk"
        assert maintenance.state(tmp_path) == begun
        assert (watch.look(), watch.on, watch.look()) == (True, True, False)
        assert MaintenanceWatch(tmp_path).on
        maintenance.end(tmp_path)
        assert (maintenance.state(tmp_path), watch.look(), watch.on) == (None, True, False)
        maintenance.end(tmp_path)

    def test_turned_on_again_it_began_when_it_began(self, tmp_path: Path) -> None:
        (tmp_path / maintenance.FILE_NAME).write_text('{"since": "2026-01-02T03:04:05Z", "reason": "x"}')
        assert maintenance.begin(tmp_path, "") == Maintenance("2026-01-02T03:04:05Z", "x")
        assert maintenance.begin(tmp_path, "y") == Maintenance("2026-01-02T03:04:05Z", "y")

    @pytest.mark.parametrize("text", ["", "[]", '"x"', "5", '{"since": "x"}', "\xff"])
    def test_a_file_that_is_not_understood_is_there(self, tmp_path: Path, text: str) -> None:
        (tmp_path / maintenance.FILE_NAME).write_bytes(text.encode("latin-1"))
        assert maintenance.state(tmp_path) == Maintenance("", "")
        assert MaintenanceWatch(tmp_path).on
        assert maintenance.begin(tmp_path, "").since


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("maintained")
    write_apps(folder, ["default", *(f"app{number}" for number in range(5))])
    server = Server(folder, "--workers", str(WORKERS))
    yield server
    server.stop()


@pytest.fixture
def maintained(own_server: Server) -> Iterator[Server]:
    """The server; afterwards it accepts again."""
    yield own_server
    turn(own_server, "off")


def ready(server: Server) -> set[int]:
    """What every worker answers to `/health/ready`; the ids that it gives begin with its own."""
    found: dict[str, int] = {}
    for _ in range(CONNECTIONS):
        with httpx.Client(trust_env=False, timeout=30) as client:
            answer = client.get(server.ingest + "/health/ready")
        found[answer.headers["x-request-id"].partition("-")[0]] = answer.status_code
        if len(found) == WORKERS:
            return set(found.values())
    raise AssertionError("not every worker answers")


def turn(server: Server, state: str) -> str:
    """Turns maintenance on or off, and waits until every worker knows."""
    told = catchment("maintenance", state, data_dir=server.data_dir)
    until(lambda: ready(server) == {503 if state == "on" else 200}, within_s=TAKEN_WITHIN_S)
    return told


def writes(app: AppOf) -> dict[str, httpx.Response]:
    return {
        "moesif": app.moesif("/v1/actions", ACTION),
        "batch": app.post(app.batch_path + "/u", BATCH, app.batch_headers),
        "moloco": app.post(app.moloco_path, MOLOCO, app.moloco_headers),
    }


def test_each_vendors_calls_are_refused_in_its_form_and_nothing_is_kept(maintained: Server) -> None:
    app = AppOf(maintained, "app0")
    turn(maintained, "on")
    answers = writes(app)
    assert {answer.status_code for answer in answers.values()} == {503}
    assert {answer.headers["retry-after"] for answer in answers.values()} == {"30"}
    reason = "the server is in maintenance; try again later"
    assert answers["moesif"].json() == {"moesif_error": {"code": "maintenance", "msg": reason}}
    assert answers["moesif"].headers["access-control-allow-origin"] == "*"
    assert "retry-after" in answers["moesif"].headers["access-control-expose-headers"]
    assert answers["batch"].json() == {"code": 2, "type": "MAINTENANCE_ERROR", "message": reason}
    assert answers["moloco"].json() == {"code": 14, "message": reason, "details": []}
    platform = app.keys["moloco"]["platform"]
    tracked = [
        app.server.http.request(method, f"{app.server.ingest}/t/i/{platform}", params={"source": "s"})
        for method in ("GET", "POST")
    ]
    assert [answer.status_code for answer in tracked] == [503, 503]
    assert app.post("/v1/actions", ACTION, {}).status_code == 503
    assert app.server.http.get(app.server.ingest + "/v1/nothing", headers=app.moesif_headers).status_code == 404
    turn(maintained, "off")
    assert app.moesif("/v1/actions", ACTION).status_code == 201
    app.events(1)
    assert app.server.sql("SELECT count() AS n FROM rejections") == [{"n": 0}]


def test_what_only_reads_goes_on(maintained: Server) -> None:
    app = AppOf(maintained, "app1")
    turn(maintained, "on")
    http, ingest = app.server.http, app.server.ingest
    for path in ("/v1/config", "/v1/rules", "/health/probe", "/health/live"):
        assert http.get(ingest + path, headers=app.moesif_headers).status_code == 200, path
    assert http.options(ingest + "/v1/actions").status_code == 204
    unready = http.get(ingest + "/health/ready")
    assert (unready.status_code, unready.json()) == (503, {"status": "maintenance"})
    assert http.get(app.server.console + "/health/ready").status_code == 200
    assert app.server.sql("SELECT 1 AS one") == [{"one": 1}]


def test_nothing_accepted_before_is_lost(maintained: Server) -> None:
    app = AppOf(maintained, "app2")
    before = [app.moesif("/v1/actions", ACTION).status_code for _ in range(50)]
    turn(maintained, "on")
    during = [answer.status_code for answer in writes(app).values()]
    turn(maintained, "off")
    after = [app.moesif("/v1/actions", ACTION).status_code for _ in range(5)]
    assert (before, during, after) == ([201] * 50, [503] * 3, [201] * 5)
    assert len(app.events(55)) == 55


def test_it_outlives_a_restart_and_is_told_and_ended_while_nothing_runs(maintained: Server) -> None:
    turn(maintained, "on")
    assert maintained.stop() == 0
    told = catchment("maintenance", "on", "--reason", "a new disk", data_dir=maintained.data_dir)
    assert told.startswith("maintenance is on since ")
    assert told.endswith(", nothing is accepted: a new disk\n")
    maintained.start()
    assert ready(maintained) == {503}
    assert {answer.status_code for answer in writes(AppOf(maintained, "app3")).values()} == {503}
    assert told in status(maintained.data_dir, code=0)
    found = status(maintained.data_dir, "--format", "json", code=0)
    assert '"reason": "a new disk"' in found
    assert turn(maintained, "off") == "maintenance is off\n"
    assert catchment("maintenance", data_dir=maintained.data_dir) == "maintenance is off\n"
    assert "maintenance" not in status(maintained.data_dir, code=0)


def test_a_folder_without_a_configuration_has_no_state(tmp_path: Path) -> None:
    assert "there is no catchment.toml" in catchment("maintenance", "on", data_dir=tmp_path, code=2)
