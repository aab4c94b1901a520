"""When which fault comes: a generator that is seeded, so that a run can be made again, as far as a machine repeats.

First every kind of fault comes once, in an order of chance; from then on they come by their weight. Some overlap. Each
waits until something was acknowledged since the last one began, if that does not take too long: a server that is down
feels nothing.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from catchment.torture.faults import FAULTS, End, Fault, World
from catchment.torture.notes import Notes

OVERLAP_MAX = 4
PAUSE_S = (0.2, 2.5)
PATIENCE_S = 10.0  # without anything acknowledged, until the next fault comes all the same
_FELT_EVENTS = 20
DUE_TRIES = 3  # a fault that could not begin so often will not
DUE_S = 300.0  # by then each kind had its turn, however slow the machine is


class Running(NamedTuple):
    """A fault that began, when it ends, and how."""

    fault: Fault
    ends_at: float
    end: End


class Schedule:
    """Faults on `world`; `step` is to be called often, `heal` in the end. `hurry` makes pauses and faults shorter."""

    def __init__(
        self,
        world: World,
        notes: Notes,
        *,
        faults: Sequence[Fault] = FAULTS,
        hurry: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.begun: Counter[str] = Counter({fault.name: 0 for fault in faults})
        self.missed: Counter[str] = Counter()
        self.running: list[Running] = []
        self._world = world
        self._notes = notes
        self._faults = faults
        self._hurry = hurry
        self._clock = clock
        self._chance = world.chance
        self._first_round = self._chance.sample(list(faults), len(faults))
        self._since = self._next_at = clock()
        self._acknowledged = 0

    @property
    def had_all(self) -> bool:
        """Whether each kind of fault came at least once."""
        return all(self.begun.values())

    def never_came(self) -> dict[str, int]:
        """The faults that were due and never began: how often each was tried. A short run need not come to all."""
        long = self._clock() - self._since >= DUE_S
        return {
            name: self.missed[name]
            for name, times in self.begun.items()
            if not times and (long or self.missed[name] >= DUE_TRIES)
        }

    def step(self) -> None:
        """Ends what is over, and begins something if it is time."""
        now = self._clock()
        for one in [one for one in self.running if one.ends_at <= now]:
            self._end(one)
        if now >= self._next_at and len(self.running) < OVERLAP_MAX and self._is_felt(now):
            self._begin(now)
            self._acknowledged = self._world.acknowledged
            self._next_at = now + self._chance.uniform(*PAUSE_S) / self._hurry

    def heal(self) -> None:
        """Ends all."""
        for one in list(self.running):
            self._end(one)

    def _begin(self, now: float) -> None:
        busy = {one.fault.group for one in self.running}
        fault = self._choose(busy)
        if fault is None:
            return
        end = fault.begin(self._world)
        if end is None:
            self._notes.fault(fault.name, "missed")
            self.missed[fault.name] += 1
            if fault in self._first_round:
                self._first_round.append(self._first_round.pop(self._first_round.index(fault)))
            return
        if fault in self._first_round:
            self._first_round.remove(fault)
        self.begun[fault.name] += 1
        seconds = self._chance.uniform(*fault.seconds) / self._hurry
        self.running.append(Running(fault, now + seconds, end))
        self._notes.fault(fault.name, "begun", seconds=round(seconds, 2))

    def _is_felt(self, now: float) -> bool:
        return self._world.acknowledged >= self._acknowledged + _FELT_EVENTS or now >= self._next_at + PATIENCE_S

    def _choose(self, busy: set[str]) -> Fault | None:
        if self._first_round:
            return next((fault for fault in self._first_round if fault.group not in busy), None)
        free = [fault for fault in self._faults if fault.group not in busy]
        return self._chance.choices(free, [fault.weight for fault in free])[0] if free else None

    def _end(self, one: Running) -> None:
        self.running.remove(one)
        one.end()
        self._notes.fault(one.fault.name, "ended")
