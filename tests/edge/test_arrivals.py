import pytest

from catchment.edge.arrivals import CREEP, PROCESSES, Arrivals

START_US = 1_800_000_000_000_000  # of the first process's turn
MINUTE_US = 60_000_000


class Clock:
    """Both clocks, which stand until they are moved."""

    def __init__(self) -> None:
        self.wall_us, self.ticks_us = START_US, 0

    def move(self, by_us: int) -> None:
        self.wall_us, self.ticks_us = self.wall_us + by_us, self.ticks_us + by_us


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("catchment.edge.arrivals.time.time_ns", lambda: made.wall_us * 1000)
    monkeypatch.setattr("catchment.edge.arrivals.time.monotonic_ns", lambda: made.ticks_us * 1000)
    return made


def test_they_are_the_clocks_but_for_the_turn_of_the_process(clock: Clock) -> None:
    arrivals = Arrivals(3)
    for _ in range(5):
        clock.move(1000)
        assert 0 <= arrivals.next().received_us - clock.wall_us < PROCESSES


def test_arrival_numbers_creep_on_where_the_clock_was_set_back(clock: Clock) -> None:
    arrivals = Arrivals(0)
    before_us = arrivals.next().received_us
    clock.wall_us -= MINUTE_US
    for after_us in (80_000, 80_000, 0, 0):
        clock.move(after_us)
        now_us = arrivals.next().received_us
        assert after_us // CREEP < now_us - before_us <= after_us // CREEP + PROCESSES
        before_us = now_us
    clock.move(2 * MINUTE_US)
    assert arrivals.next().received_us == clock.wall_us, "it has caught up"


def test_two_processes_never_begin_a_call_with_the_same_number_wherever_their_clocks_stand(clock: Clock) -> None:
    """Copies of one event that come to two processes within a microsecond are two, and in the books, too."""
    processes = [Arrivals(number) for number in range(PROCESSES)]
    seen: set[int] = set()
    for round_number in range(100):
        clock.move(round_number % 3)
        if round_number == 50:
            clock.wall_us -= MINUTE_US
        seen.update(arrivals.next().received_us for arrivals in processes)
    assert len(seen) == 100 * PROCESSES


def test_a_call_of_many_records_takes_a_number_for_each(clock: Clock) -> None:
    arrivals = Arrivals(1)
    first = arrivals.next()
    arrivals.taken(first, 100)
    assert arrivals.next().received_us >= first.received_us + 100
