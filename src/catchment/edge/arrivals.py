"""Arrival numbers: microseconds by the clock, one for each record, in the order in which an edge process took them.

They never repeat and never go back, and two processes that live at the same time never begin a call with the same one:
the store would take two copies of an event that arrived at both for one (docs/decisions/0007). So the processes take
turns: of each 16 numbers in a row, a call at one of 16 processes begins with that of its process. While the clock was
set back the numbers creep on, until it has caught up, for those of a process must not stand.
"""

import time
from datetime import UTC, datetime

from uuid_utils import uuid7

from catchment.dialects.dialect import Arrival

PROCESSES = 16
CREEP = 8  # one part in so many of the true pace


class Arrivals:
    """Those of one process; `process` is its number among those that live, from 0 on."""

    def __init__(self, process: int) -> None:
        self._turn = process % PROCESSES
        self._next_us = 0
        self._ticks_us = 0

    def next(self) -> Arrival:
        """That of a call that arrives now."""
        ticks_us = time.monotonic_ns() // 1000
        crept_us = self._next_us + (ticks_us - self._ticks_us) // CREEP
        received_us = max(time.time_ns() // 1000, crept_us)
        received_us += (self._turn - received_us) % PROCESSES
        self._next_us, self._ticks_us = received_us + 1, ticks_us
        return Arrival(datetime.fromtimestamp(received_us / 1e6, UTC), received_us, new_id)

    def taken(self, arrival: Arrival, records: int) -> None:
        """The call that arrived so, the last one, has taken a number for each of its records."""
        self._next_us = arrival.received_us + records


def new_id() -> str:
    """Of an event that came without one; in order of time."""
    return str(uuid7())
