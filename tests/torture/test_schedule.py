"""When faults come and go."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from catchment.torture.faults import FAULTS, End, Fault, World
from catchment.torture.notes import Notes
from catchment.torture.schedule import DUE_S, PATIENCE_S, Schedule


class _Client:
    acknowledged = 0


class _Stage:
    """A schedule of faults that do nothing but tell, on a clock that a test turns."""

    def __init__(self, folder: Path, *names: str, group: str = "") -> None:
        self.now = 0.0
        self.active = Counter[str]()
        self.misses = 0
        self.most = 0
        self.client = _Client()
        world = World(cast(Any, None), cast(Any, None), cast(Any, None), [cast(Any, self.client)], random.Random(7))
        self.notes = Notes(folder)
        faults = [Fault(name, group or name, 1, (0.5, 3), self._beginning(name)) for name in names]
        self.schedule = Schedule(world, self.notes, faults=faults, clock=lambda: self.now)

    def _beginning(self, name: str) -> Callable[[World], End | None]:
        def begin(_: World) -> End | None:
            if self.misses:
                self.misses -= 1
                return None
            self.active[name] += 1
            self.most = max(self.most, self.active.total())
            return lambda: self.active.subtract([name])

        return begin

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.now += 0.1
            self.client.acknowledged += 5
            self.schedule.step()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[_Stage]:
    stage = _Stage(tmp_path, *"abcdefgh")
    yield stage
    stage.notes.close()


def test_each_kind_comes_before_any_comes_twice(stage: _Stage) -> None:
    while not stage.schedule.had_all:
        stage.pass_time(0.1)
        assert max(stage.schedule.begun.values()) <= 1
    assert stage.now < 30


def test_one_that_could_not_begin_comes_later(stage: _Stage) -> None:
    stage.misses = 5
    stage.pass_time(60)
    assert stage.schedule.had_all


def test_faults_overlap_but_not_those_of_one_group(tmp_path: Path, stage: _Stage) -> None:
    (tmp_path / "other").mkdir()
    alike = _Stage(tmp_path / "other", *"abcd", group="same")
    for one in (stage, alike):
        one.pass_time(120)
    alike.notes.close()
    assert stage.most > 1
    assert alike.most == 1


def test_everything_is_ended_in_the_end(stage: _Stage) -> None:
    while not stage.active.total():
        stage.pass_time(0.1)
    stage.schedule.heal()
    assert stage.active.total() == 0
    assert stage.schedule.running == []


def test_a_server_that_acknowledges_nothing_is_left_alone_for_a_while(stage: _Stage) -> None:
    stage.now += 0.1
    stage.schedule.step()
    stage.now += PATIENCE_S / 2
    stage.schedule.step()
    begun = sum(stage.schedule.begun.values())
    stage.now += 2 * PATIENCE_S
    stage.schedule.step()
    assert sum(stage.schedule.begun.values()) == begun + 1


def test_the_same_seed_draws_the_same_faults(tmp_path: Path) -> None:
    drawn = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        one = _Stage(folder, *"abcdef")
        one.pass_time(60)
        one.notes.close()
        drawn.append(dict(one.schedule.begun))
    assert drawn[0] == drawn[1]
    assert sum(drawn[0].values()) > 10


def test_the_table_has_each_fault_once() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


def test_a_fault_that_was_due_and_never_came_is_told(stage: _Stage) -> None:
    assert stage.schedule.never_came() == {}, "nothing was due"
    stage.misses = 1
    stage.pass_time(0.2)
    assert stage.schedule.never_came() == {}, "it comes again"
    stage.misses = 1_000_000
    stage.pass_time(60)
    assert stage.schedule.never_came().keys() == set("abcdefgh")
    stage.misses = 0
    stage.pass_time(60)
    assert stage.schedule.never_came() == {}


def test_in_a_long_run_every_fault_is_due(stage: _Stage) -> None:
    stage.pass_time(0.5)
    stage.now += DUE_S
    assert len(stage.schedule.never_came()) == len("abcdefgh") - 1
