"""The gate of one edge process: how many requests are under way, what their bodies take, and for how long these come.

Memory is bounded because what a sender can make grow takes room here before it grows: a request takes a place, and its
body the bytes that have come of it. The bytes are given back once its records are with the log, which has a bound of
its own, and the place when the request ends. Who finds no room is `Busy`: that is told before the key is looked at and
the body is read, and nothing is kept of it. It is told at once, but for a flood: of clients that come again at once
there would be so many refusals that nothing else was done, so each is told a little later than the one before.

Room goes to those who use it: what is announced and does not come holds none. Where places are short, or bytes for
newcomers, the bodies that have been coming for long are ended; where one grows and bytes are short, the body of which
the least has come is, so that what was received with the most effort is finished. And a body that is alone is never
refused, whatever the bounds are.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType

from catchment.settings import Ingest

SLOW_AFTER_S = 5.0  # a body that has been coming for so long gives way to newcomers
NEWCOMERS_SHARE = 0.75  # of the bytes; the rest is for the bodies under way to grow
REFUSALS_PER_SECOND = 300  # told at once
PAUSE_S_MAX = 3.0
REFUSED_BYTES = 64 * 1024
TOO_MANY_BYTES = "too many bytes of bodies are under way"
TOO_MANY_BODIES = "too many bodies are under way, and this one came too slowly"


class Busy(Exception):
    """There is no room now; the text says of what."""


class TooSlow(Exception):
    """The body did not come in time."""


class Place:
    """One request's. Within it as a context the body comes; what waits there may be ended with `Busy` or `TooSlow`."""

    __slots__ = ("_gate", "_task", "body_bytes", "ends_with", "since_s")

    def __init__(self, gate: "Gate") -> None:
        self._gate = gate
        self._task: asyncio.Task[object] | None = None
        self.ends_with: type[Busy] | type[TooSlow] | None = None
        self.body_bytes = 0
        self.since_s = 0.0

    def hold(self, body_bytes: int, *, came: bool = True) -> None:
        """Takes so many bytes in place of those that it had. Raises `Busy`. What `came` may end other bodies; what was
        made of it by decompression was no effort, and may not."""
        gate = self._gate
        others = gate.body_bytes - self.body_bytes
        if others and body_bytes > self.body_bytes and others + body_bytes > gate.body_bytes_max:
            if not came:
                raise Busy(TOO_MANY_BYTES)
            gate.make_room(self, body_bytes)
        gate.body_bytes += body_bytes - self.body_bytes
        self.body_bytes = body_bytes

    def end(self, error: type[Busy] | type[TooSlow]) -> None:
        """Ends the waiting for the body."""
        self.ends_with = error
        self._gate.coming.discard(self)
        self.hold(0)
        if self._task is not None:
            self._task.cancel()

    def __enter__(self) -> "Place":
        self.since_s = self._gate.clock()
        self._task = asyncio.current_task()
        self._gate.coming.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gate.coming.discard(self)
        task, self._task = self._task, None
        if self.ends_with is not None and kind is asyncio.CancelledError and task is not None:
            task.uncancel()
            raise self.ends_with(TOO_MANY_BODIES) from None


class Gate:
    """`requests` and `body_bytes` are what is under way now, `coming` whose bodies are not here yet."""

    def __init__(self, settings: Ingest, clock: Callable[[], float] = time.monotonic) -> None:
        self._requests_max = settings.open_requests_max
        self._body_seconds_max = settings.body_seconds_max
        self._newcomers_bytes_max = int(settings.bodies_bytes_max * NEWCOMERS_SHARE)
        self._next_refusal_s = 0.0
        self._slow: deque[Place] = deque()
        self._slow_and_held: deque[Place] = deque()  # those of the slow ones of which something has come
        self.body_bytes_max = settings.bodies_bytes_max
        self.clock = clock
        self.requests = 0
        self.body_bytes = 0
        self.coming: set[Place] = set()

    def enter(self) -> Place:
        """A place for one request, until `leave`. Raises `Busy`."""
        if self.requests >= self._requests_max and not self._end_the_first(self._slow):
            raise Busy("too many requests are under way")
        while self.body_bytes > self._newcomers_bytes_max:
            if not self._end_the_first(self._slow_and_held):
                raise Busy(TOO_MANY_BYTES)
        self.requests += 1
        return Place(self)

    def leave(self, place: Place) -> None:
        """Gives the place back, and what it holds."""
        self.requests -= 1
        place.hold(0)

    def make_room(self, place: Place, body_bytes: int) -> None:
        """Ends bodies of which less has come until so many bytes fit. Raises `Busy` where that is not enough."""
        while (others := self.body_bytes - place.body_bytes) and others + body_bytes > self.body_bytes_max:
            least = min(self.coming - {place}, key=lambda other: other.body_bytes, default=place)
            if least is place or least.body_bytes >= body_bytes:
                raise Busy(TOO_MANY_BYTES)
            least.end(Busy)

    def pause_s(self, body_bytes: int) -> float:
        """How long to wait before telling `Busy` to somebody with a body of so many bytes: a large one, of which much
        may have come for nothing, counts as many."""
        now, step_s = self.clock(), (1 + body_bytes // REFUSED_BYTES) / REFUSALS_PER_SECOND
        self._next_refusal_s = min(max(now, self._next_refusal_s + step_s), now + PAUSE_S_MAX)
        return self._next_refusal_s - now

    def look(self) -> None:
        """Ends the bodies that should be here by now, and finds the slow ones: about once a second, which is cheaper
        than a timer for each."""
        now = self.clock()
        for place in [place for place in self.coming if now - place.since_s > self._body_seconds_max]:
            place.end(TooSlow)
        slow = [place for place in self.coming if now - place.since_s > SLOW_AFTER_S]
        self._slow = deque(sorted(slow, key=lambda place: place.since_s))
        self._slow_and_held = deque(place for place in self._slow if place.body_bytes)

    def _end_the_first(self, slow: deque[Place]) -> bool:
        """Whether there was one. Its bytes are free now, its place in a moment: until then, one request more is under
        way."""
        while slow:
            place = slow.popleft()
            if place in self.coming:
                place.end(Busy)
                return True
        return False
