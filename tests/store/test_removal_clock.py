"""A clock that is wrong, a store that is real, and a core that is started again meanwhile: nothing goes at once."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from catchment import config, wiring
from catchment.loader import Loader
from catchment.retention import DAY_S, SETTLE_S, Retention
from catchment.settings import Loader as LoaderSettings
from catchment.settings import Sql
from catchment.store.clickhouse import ClickHouseStore
from catchment.tokens import token_hash
from tests.store.contract import event, lines
from tests.test_loader import ListLog

NOW = 1_760_000_000.0
KEPT = "\n[apps.default.moesif.retention]\nevents_days = 90\n"
FOR_EVER = "\n[retention]\nunauthenticated_days = 0\n"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseStore]:
    store = ClickHouseStore(tmp_path_factory.mktemp("engine") / "store", Sql())
    store.migrate()
    yield store
    store.close()


class Machine:
    """A core's retention on a store, as wired, on a machine whose clocks are the test's."""

    def __init__(self, store: ClickHouseStore, data_dir: Path) -> None:
        self.store = store
        self.data_dir = data_dir
        self.now = NOW
        self.steady = 1000.0
        self.settings(KEPT)
        self.start()

    def settings(self, more: str) -> None:
        (self.data_dir / config.FILE_NAME).write_text(config.first_file(token_hash("")) + more)

    def start(self) -> None:
        """The core starts, again."""
        loader = Loader(ListLog(), self.store, LoaderSettings())
        self.retention: Retention = wiring.retention(self.data_dir, self.store, loader)
        self.retention._clock, self.retention._steady = lambda: self.now, lambda: self.steady

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.steady += seconds

    def look(self) -> int:
        """How many events are left after a look."""
        self.retention.look(threading.Event())
        return int(self.store.query("SELECT count() AS n FROM events").rows[0]["n"])

    def arrive(self, *names: str) -> None:
        self.store.insert(lines(*[event(name, app="default", received_us=int(self.now * 1e6)) for name in names]))

    def noted(self) -> float:
        """The clock of the last pass, as the store has it."""
        query = "SELECT toUnixTimestamp(max(enforced_at)) AS at FROM kept_from"
        return float(self.store.query(query).rows[0]["at"])


@pytest.fixture
def machine(engine: ClickHouseStore, tmp_path: Path) -> Machine:
    for row in engine.tables():
        if row["table"] != "migrations":
            engine._command(f"TRUNCATE TABLE catchment.{row['table']}")
    return Machine(engine, tmp_path)


def test_a_restart_under_a_clock_that_went_ahead_removes_nothing_for_an_hour(machine: Machine) -> None:
    machine.arrive("1", "2")
    assert machine.look() == 2
    machine.now += 400 * DAY_S
    machine.pass_time(30)
    assert machine.look() == 2
    machine.arrive("stamped by the wrong clock")
    for _ in range(3):
        machine.start()
        assert machine.look() == 3
        machine.pass_time(SETTLE_S / 2)
        assert machine.look() == 3
    machine.pass_time(SETTLE_S / 2 + 1)
    assert machine.look() == 1, "and then it is believed"


def test_a_clock_that_goes_ahead_while_a_removal_runs_is_not_noted_as_believed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.arrive("1")
    query = machine.store.open_handle

    def jump_and_open() -> object:
        machine.now += 400 * DAY_S
        return query()

    monkeypatch.setattr(machine.store, "open_handle", jump_and_open)
    machine.start()
    assert machine.look() == 1
    monkeypatch.undo()
    assert machine.noted() == NOW
    machine.arrive("2")
    machine.start()
    assert machine.look() == 2


@pytest.mark.parametrize("settings", [KEPT, FOR_EVER], ids=["nothing too old", "nothing limited"])
def test_a_server_that_ran_yesterday_waits_for_nothing_though_nothing_arrived_for_a_month(
    machine: Machine, settings: str
) -> None:
    machine.settings(settings)
    machine.arrive("1")
    for _ in range(30):
        machine.pass_time(DAY_S)
        machine.look()
        assert machine.noted() == machine.now
    machine.pass_time(DAY_S)
    machine.start()
    machine.look()
    assert machine.noted() == machine.now


def test_a_server_that_was_off_for_a_month_waits_for_an_hour(machine: Machine) -> None:
    machine.arrive("1")
    machine.look()
    machine.pass_time(91 * DAY_S)
    machine.start()
    assert machine.look() == 1
    machine.pass_time(SETTLE_S + 1)
    assert machine.look() == 0


def test_a_store_that_knows_no_removal_goes_by_what_arrived_last(machine: Machine) -> None:
    machine.arrive("1")
    machine.pass_time(91 * DAY_S)
    assert machine.look() == 1
    machine.pass_time(SETTLE_S + 1)
    assert machine.look() == 0


@pytest.mark.parametrize("restarted", [False, True])
def test_a_wrong_clock_that_was_believed_and_set_right_is_doubted_again(machine: Machine, restarted: bool) -> None:
    machine.look()
    machine.now += 400 * DAY_S
    machine.look()
    machine.pass_time(SETTLE_S + 1)
    machine.look()
    assert machine.noted() > NOW + 399 * DAY_S, "it was believed"
    machine.now -= 400 * DAY_S
    if restarted:
        machine.start()
    machine.look()
    machine.arrive("1")
    assert machine.look() == 1
    machine.now += 300 * DAY_S
    machine.start()
    assert machine.look() == 1
