"""The gate by itself: who gets room, who gives way, and that everything is given back."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from catchment.edge.body import AT_ONCE_BYTES_MAX, Gone, read_body
from catchment.edge.gate import Busy, Gate, Place, TooSlow
from catchment.settings import MIB, Ingest


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Body:
    """A body that comes part by part, each when the test sends it."""

    def __init__(self) -> None:
        self._parts: asyncio.Queue[bytes] = asyncio.Queue()

    def send(self, part: bytes) -> None:
        """An empty one is the end."""
        self._parts.put_nowait(part)

    async def __call__(self) -> bytes:
        return await self._parts.get()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while part := await self._parts.get():
            yield part


class Arriving:
    """A request with a body that the test sends."""

    def __init__(self, gate: Gate, declared: int | None) -> None:
        self.body = Body()
        self.place = gate.enter()
        headers = {} if declared is None else {"content-length": str(declared)}
        self.task = asyncio.ensure_future(read_body(self.body, headers, 100 * MIB, self.place))

    async def send(self, part: bytes) -> None:
        self.body.send(part)
        await settle()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(clock: Clock) -> Gate:
    return Gate(Ingest(open_requests_max=3, bodies_bytes_max=4 * MIB, body_seconds_max=20), clock)


def test_of_more_requests_than_the_bound_the_next_is_refused_until_one_leaves(gate: Gate) -> None:
    places = [gate.enter() for _ in range(3)]
    with pytest.raises(Busy):
        gate.enter()
    gate.leave(places[0])
    gate.enter()
    assert gate.requests == 3


def test_what_was_held_is_given_back_however_the_request_ends(gate: Gate) -> None:
    first, second = gate.enter(), gate.enter()
    first.hold(MIB)
    second.hold(2 * MIB)
    second.hold(MIB)
    assert gate.body_bytes == 2 * MIB
    gate.leave(first)
    gate.leave(second)
    assert (gate.requests, gate.body_bytes) == (0, 0)


def test_a_body_that_is_alone_fits_however_large_it_is(gate: Gate) -> None:
    place = gate.enter()
    place.hold(50 * MIB)
    with pytest.raises(Busy):
        gate.enter()
    gate.leave(place)
    gate.enter()


def test_newcomers_are_refused_before_the_last_room_is_taken(gate: Gate) -> None:
    place = gate.enter()
    place.hold(3 * MIB + 1)
    with pytest.raises(Busy):
        gate.enter()
    place.hold(3 * MIB)
    other = gate.enter()
    other.hold(MIB)
    with pytest.raises(Busy):
        other.hold(MIB + 1)
    assert gate.body_bytes == 4 * MIB


async def test_what_a_body_declares_takes_no_room_before_it_has_come(gate: Gate) -> None:
    large = Arriving(gate, 4 * MIB)
    await settle()
    assert gate.body_bytes == 0
    await large.send(b"x" * MIB)
    assert gate.body_bytes == MIB
    small = Arriving(gate, AT_ONCE_BYTES_MAX)
    await settle()
    assert gate.body_bytes == MIB
    await small.send(b"x" * AT_ONCE_BYTES_MAX)
    assert gate.body_bytes == MIB + AT_ONCE_BYTES_MAX
    assert len(await small.task) == AT_ONCE_BYTES_MAX
    large.task.cancel()
    await asyncio.wait({large.task})


async def test_the_body_of_which_the_least_has_come_gives_way_to_one_that_grows(gate: Gate) -> None:
    most, least = Arriving(gate, None), Arriving(gate, 4 * MIB)
    await most.send(b"x" * 3 * MIB)
    await least.send(b"x" * MIB)
    await most.send(b"x")
    with pytest.raises(Busy):
        await least.task
    assert gate.body_bytes == 3 * MIB + 1
    await most.send(b"")
    assert len(await most.task) == 3 * MIB + 1


async def test_a_body_that_grows_gives_way_to_those_of_which_more_has_come(gate: Gate) -> None:
    most, least = Arriving(gate, None), Arriving(gate, None)
    await most.send(b"x" * 3 * MIB)
    await least.send(b"x" * MIB)
    await least.send(b"x")
    with pytest.raises(Busy):
        await least.task
    assert gate.body_bytes == 4 * MIB
    gate.leave(least.place)
    assert gate.body_bytes == 3 * MIB
    most.task.cancel()
    await asyncio.wait({most.task})


async def test_a_body_that_has_come_gives_way_to_none(gate: Gate) -> None:
    here, growing = Arriving(gate, 3 * MIB), Arriving(gate, None)
    await here.send(b"x" * 3 * MIB)
    await here.send(b"")
    assert len(await here.task) == 3 * MIB
    await growing.send(b"x" * (MIB + 1))
    with pytest.raises(Busy):
        await growing.task
    assert gate.body_bytes == 3 * MIB


async def test_what_decompression_made_ends_no_other_body(gate: Gate) -> None:
    small, compressed = gate.enter(), gate.enter()
    with small:
        small.hold(10)
        compressed.hold(100)
        with pytest.raises(Busy):
            compressed.hold(4 * MIB, came=False)
        assert gate.body_bytes == 110
    small.hold(0)
    compressed.hold(50 * MIB, came=False)


async def test_a_body_that_does_not_come_in_time_is_ended(gate: Gate, clock: Clock) -> None:
    slow = Arriving(gate, 10)
    await settle()
    clock.now += 20
    gate.look()
    await settle()
    assert not slow.task.done()
    clock.now += 1
    gate.look()
    with pytest.raises(TooSlow):
        await slow.task
    assert (gate.body_bytes, gate.coming) == (0, set())


async def test_where_places_are_short_the_slowest_body_gives_its_place(gate: Gate, clock: Clock) -> None:
    slowest = Arriving(gate, 10)
    await settle()
    clock.now += 2
    slow = Arriving(gate, 10)
    await settle()
    clock.now += 8
    fresh = Arriving(gate, 10)
    await settle()
    gate.look()
    newcomer = gate.enter()
    with pytest.raises(Busy):
        await slowest.task
    gate.leave(slowest.place)
    newcomers = [gate.enter()]
    with pytest.raises(Busy):
        await slow.task
    gate.leave(slow.place)
    with pytest.raises(Busy):
        gate.enter()
    assert not fresh.task.done()
    assert isinstance(newcomer, Place)
    await fresh.send(b"0123456789")
    assert await fresh.task == b"0123456789"
    for place in (newcomer, fresh.place, *newcomers):
        gate.leave(place)
    assert (gate.requests, gate.body_bytes) == (0, 0)


async def test_where_bytes_are_short_slow_bodies_that_hold_some_give_way(gate: Gate, clock: Clock) -> None:
    silent, slowest = Arriving(gate, 2 * MIB), Arriving(gate, 2 * MIB)
    await slowest.send(b"x" * (MIB + MIB // 2))
    clock.now += 2
    slow = Arriving(gate, None)
    await slow.send(b"x" * (MIB + MIB // 2 + 1))
    gate.look()
    gate._requests_max = 10
    with pytest.raises(Busy):
        gate.enter()
    clock.now += 6
    gate.look()
    gate.leave(gate.enter())
    with pytest.raises(Busy):
        await slowest.task
    await settle()
    assert (silent.task.done(), slow.task.done(), gate.body_bytes) == (False, False, MIB + MIB // 2 + 1)
    silent.task.cancel()
    slow.task.cancel()
    await asyncio.wait({silent.task, slow.task})


async def test_whoever_cancels_a_request_for_another_reason_gets_what_was_asked(gate: Gate) -> None:
    request = Arriving(gate, 10)
    await settle()
    request.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request.task
    assert gate.coming == set()


async def test_a_large_body_that_ends_early_is_a_client_that_left(gate: Gate) -> None:
    request = Arriving(gate, MIB)
    await request.send(b"x")
    await request.send(b"")
    with pytest.raises(Gone):
        await request.task


async def test_a_small_body_that_ends_early_is_one_too(gate: Gate) -> None:
    request = Arriving(gate, 10)
    await request.send(b"x")
    with pytest.raises(Gone):
        await request.task


def test_refusals_are_told_at_once_until_they_become_a_flood(gate: Gate, clock: Clock) -> None:
    assert gate.pause_s(0) == 0
    pauses = [gate.pause_s(0) for _ in range(5000)]
    assert pauses == sorted(pauses)
    assert 0 < pauses[0] < 0.01
    assert pauses[-1] == 3
    clock.now += 10
    assert gate.pause_s(0) == 0


def test_a_refusal_of_a_large_body_counts_as_many(gate: Gate) -> None:
    gate.pause_s(0)
    assert gate.pause_s(0) < 0.01 < gate.pause_s(16 * MIB) <= 3
