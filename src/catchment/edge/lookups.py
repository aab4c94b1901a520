"""What strings mean that many events carry: a User-Agent says which program called, an address where from.

What they mean is written into each record: it stays what it was on that day, and a query need not look anything up
(docs/decisions/0006). A string is looked up once and then remembered, so a record costs little more than two looks into
a dictionary. As nothing but the memory of this process depends on it, a request that fails, an append that is not
durable or a crash leave nothing half done.

The work is bounded, for strings are the sender's: so many new ones a request and a minute. A record whose strings came
over the bound has no meaning written; the string is looked up when it is met again. So is the memory, in strings and in
characters.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from catchment.dialects.dialect import USER_AGENT_CHARS_MAX
from catchment.edge.agents import AgentParser
from catchment.edge.allowance import Allowance
from catchment.edge.places import PlaceFinder
from catchment.record import ProfileRecord, Record

# Which leaf of a profile says what another one means; the names are the vendor's (contracts/moesif.md 3.3).
AGENT_LEAVES = ("user_agent_string", "user_agent")
PLACE_LEAVES = ("ip_address", "geo_ip")


class Bounds(NamedTuple):
    """Of one sort of strings: how long one may be, how many new ones are looked up, and how many are remembered."""

    chars_max: int
    per_request_max: int
    per_minute_max: int
    known_max: int
    known_chars_max: int


# At 20 us each, or 100 us where it is as long as may be and like no browser's: 20 to 100 ms a request, 1 s a minute.
AGENTS = Bounds(USER_AGENT_CHARS_MAX, 1000, 10_000, 20_000, 4_000_000)
# At 7 us each: 35 ms a request, 0.4 s a minute. An IPv6 address with the name of an interface is the longest.
PLACES = Bounds(64, 5000, 60_000, 50_000, 1_000_000)


class Lookups:
    """The lookups of one edge process; without `find_place` addresses are not looked at."""

    def __init__(
        self,
        parse_agent: AgentParser,
        find_place: PlaceFinder | None,
        *,
        agents: Bounds = AGENTS,
        places: Bounds = PLACES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._agents = _Meanings(parse_agent, agents, "User-Agents were not looked up", clock)
        self._places = _Meanings(find_place, places, "addresses were not looked up", clock) if find_place else None

    def fill(self, records: Sequence[Record]) -> None:
        """Writes what their strings mean into the records of one request."""
        agents, places = self._agents, self._places
        agents.begin_request()
        if places:
            places.begin_request()
        for record in records:
            if isinstance(record, ProfileRecord):
                _fill_leaves(record, AGENT_LEAVES, agents)
                if places:
                    _fill_leaves(record, PLACE_LEAVES, places)
                continue
            if (user_agent := record.user_agent) is not None:
                try:  # `of`, without a call for each event
                    record.agent = agents.young[user_agent]
                except KeyError:
                    record.agent = agents.of(user_agent)
            if places and record.ip:
                record.place = places.of(record.ip)


class _Meanings:
    """What strings of one sort mean, as JSON text; None where that is nothing.

    The remembered ones stand in two halves. When the younger is full it becomes the older, and the older is forgotten;
    a string that is met in the older one moves to the younger. So what is met again and again stays.
    """

    def __init__(self, look_up: Callable[[str], Any], bounds: Bounds, what: str, clock: Callable[[], float]) -> None:
        self._look_up = look_up
        self._bounds = bounds
        self._allowance = Allowance(bounds.per_minute_max, what, clock)
        self._left = 0
        self.young: dict[str, Raw | None] = {}
        self._young_chars = 0
        self._old: dict[str, Raw | None] = {}

    def begin_request(self) -> None:
        self._left = self._bounds.per_request_max

    def of(self, text: str) -> Raw | None:
        if text in self.young:
            return self.young[text]
        if text in self._old:
            meaning = self._old[text]
        elif not text or len(text) > self._bounds.chars_max or self._left <= 0 or not self._allowance.take():
            return None
        else:
            self._left -= 1
            found = self._look_up(text)
            meaning = None if found is None else Raw(msgspec.json.encode(found))
        self._remember(text, meaning)
        return meaning

    def _remember(self, text: str, meaning: Raw | None) -> None:
        if len(self.young) >= self._bounds.known_max // 2 or self._young_chars >= self._bounds.known_chars_max // 2:
            self._old, self.young, self._young_chars = self.young, {}, 0
        self.young[text] = meaning
        self._young_chars += len(text)


def _fill_leaves(record: ProfileRecord, names: tuple[str, str], meanings: _Meanings) -> None:
    """Where an update gives the string, adds the leaf with what it means; `{}` for nothing, so that the meaning of an
    earlier string does not stay. An update that gives that leaf itself knows better."""
    given, meant = names
    text = None
    for path, value in record.leaves:
        if path == given:
            text = msgspec.json.decode(value)
        elif path == meant or path.startswith(meant + "."):
            return
    if isinstance(text, str) and text:
        meaning = meanings.of(text)
        record.leaves.append((meant, "{}" if meaning is None else bytes(meaning).decode()))
