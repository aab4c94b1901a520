"""A server whose machine is bad: what the control file says reaches its processes, and only while it says so."""

import errno
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from catchment.torture.calls import FORMS, Call, make
from catchment.torture.control import Control, Dial
from catchment.torture.server import TorturedServer, keys_of
from tests.conftest import until

HOUR_US = 3_600_000_000
WITHIN_S = 60.0
ACTION = next(number for number, form in enumerate(FORMS) if form.name == "action")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorturedServer]:
    folder = tmp_path_factory.mktemp("bad-machine")
    with (folder / "server.log").open("wb") as output:
        running = TorturedServer(folder / "data", Control(folder / "control"), output)
        assert running.await_ready()
        yield running
        running.destroy()


@pytest.fixture
def control(server: TorturedServer) -> Iterator[Control]:
    control = Control(server.data_dir.parent / "control")
    yield control
    control.heal()


def post(server: TorturedServer, number: int) -> httpx.Response:
    call: Call = make(ACTION, 0, number, 1, keys_of(server.settings))
    return httpx.post(
        server.ingest + call.path, content=call.body, headers=call.headers, trust_env=False, timeout=WITHIN_S
    )


def post_until_taken(server: TorturedServer, number: int) -> None:
    until(lambda: post(server, number).status_code == 201, within_s=WITHIN_S)


def test_its_clock_can_be_set(server: TorturedServer, control: Control) -> None:
    post_until_taken(server, 0)
    control[Dial.CLOCK_US] = 30 * HOUR_US
    post_until_taken(server, 2)
    query = "SELECT dateDiff('hour', now(), max(received_at)) AS hours FROM events WHERE properties.t::String = 'c0-2'"
    until(lambda: server.sql(query)[0]["hours"] in (29, 30), within_s=WITHIN_S)


@pytest.mark.parametrize("dial", [Dial.WRITE_ERROR, Dial.SYNC_ERROR])
def test_its_log_can_fail_and_recovers(server: TorturedServer, control: Control, dial: Dial) -> None:
    post_until_taken(server, 4)
    control[dial] = errno.EIO
    assert post(server, 6).status_code == 503
    control.heal()
    post_until_taken(server, 6)


def test_its_syncs_can_take_long(server: TorturedServer, control: Control) -> None:
    post_until_taken(server, 8)
    control[Dial.SYNC_MS] = 300
    answers = list[httpx.Response]()

    def taken() -> bool:  # the other worker may not have tried its disk again since that failed
        answers.append(post(server, 10))
        return answers[-1].status_code == 201

    until(taken, within_s=WITHIN_S)
    assert answers[-1].elapsed.total_seconds() >= 0.3


def test_its_processes_are_told_apart_and_ended(server: TorturedServer) -> None:
    roles = {role: server.processes(role) for role in ("edge", "worker", "core", "server")}
    assert {role: len(pids) for role, pids in roles.items()} == {"edge": 1, "worker": 2, "core": 1, "server": 1}
    assert len({pid for pids in roles.values() for pid in pids}) == 5
    assert server.send(roles["server"][0], signal.SIGKILL)
    assert not server.send(roles["server"][0], signal.SIGKILL), "it is gone"
    assert server.await_ready(), "it is started again"
    assert server.starts == 2


def test_a_control_file_says_that_nothing_is_wrong_until_it_is_told(tmp_path: Path) -> None:
    told, seen = Control(tmp_path / "control"), Control(tmp_path / "control")
    assert [seen[dial] for dial in Dial] == [0, 0, 0, 0]
    told[Dial.CLOCK_US] = -HOUR_US
    assert seen[Dial.CLOCK_US] == -HOUR_US
    told.heal()
    assert seen[Dial.CLOCK_US] == 0
