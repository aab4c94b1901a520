"""What one client knows of each of its events: which call it was part of, and how far that came.

One byte an event, so that a client may have millions: the form of its call, and its state. An event whose call was
never sent whole has none, for then it must not be found.
"""

from enum import IntEnum

from catchment.torture.calls import mark


class State(IntEnum):
    """How far an event came; what is higher stays."""

    UNSENT = 0  # or only a part of its call was
    SENT = 1  # whole, at least once; nobody knows whether it was taken
    ACKNOWLEDGED = 2


_STATES = 4
TOLD_MAX = 10


class Account:
    """Of one client, which alone changes it."""

    def __init__(self, client: int) -> None:
        self.client = client
        self.broken_off = 0  # calls whose body was chunked and had no end
        self.bad_sent = 0  # calls that are to be refused
        self.bad_refused = 0  # of those, the ones that got that answer
        self.bad_taken: list[str] = []  # and those that were accepted
        self.refused = 0  # sound calls that were answered 4xx
        self.refusals: list[str] = []  # the first of them
        self._events = bytearray()

    def __len__(self) -> int:
        return len(self._events)

    def begin(self, form: int, count: int) -> int:
        """The first of so many new events, of a call of this form."""
        first = len(self._events)
        self._events.extend(bytes([form * _STATES]) * count)
        return first

    def mark(self, first: int, count: int, state: State) -> None:
        """These events came so far, if they were not further."""
        for number in range(first, first + count):
            form, before = divmod(self._events[number], _STATES)
            self._events[number] = form * _STATES + max(before, state)

    def refuse(self, first: int, status: int) -> None:
        """A sound call was refused, which must not be."""
        self.refused += 1
        if len(self.refusals) < TOLD_MAX:
            self.refusals.append(f"{mark(self.client, first)} ({status})")

    def __getitem__(self, number: int) -> tuple[int, State]:
        """The form of an event's call, and its state."""
        form, state = divmod(self._events[number], _STATES)
        return form, State(state)
