"""Who waits until the disk has taken what others appended: in the order in which they came, and not for ever."""

import asyncio
from asyncio import Task
from itertools import count

import pytest

from catchment.edge import journal as journal_module
from catchment.edge.journal import Journal
from catchment.errors import LogUnavailable
from catchment.record import Record
from tests.edge.test_app import KEY, Edge, Exchange, Log, edge

__all__ = ["edge"]  # a fixture

MAX = 1000  # bytes that may wait for the disk
LARGE = MAX  # a body of which only half may fit
WITHIN_S = 60.0  # what is bound to happen


class Appending:
    """A journal on a log that is durable when the test says so, and bodies that wait for room, then append."""

    def __init__(self) -> None:
        self.log = Log()
        self.journal = Journal(self.log, MAX)
        self.let_in: list[str] = []
        self.tasks: list[Task[None]] = []
        self._numbers = count()

    def append(self, size: int) -> None:
        """Something of about that size waits for the disk from now on."""
        number = next(self._numbers)
        record = Record(app="a", source="s", kind="event", event_id=str(number), received_us=number, payload="")
        self.journal._encoded = lambda records: b"x" * size  # type: ignore[method-assign]
        self.journal.append([record])

    def body(self, name: str, size: int, then: int) -> "Task[None]":
        async def send() -> None:
            await self.journal.room_for(size)
            self.let_in.append(name)
            if then:
                self.append(then)

        self.tasks.append(asyncio.ensure_future(send()))
        return self.tasks[-1]

    async def sync(self, number: int) -> None:
        """What was appended as that number is durable."""
        self.log.appends[number][1].set_result(None)
        await self.settle()

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.fixture
def appending() -> Appending:
    return Appending()


async def test_a_large_body_is_let_in_though_small_ones_never_cease(appending: Appending) -> None:
    appending.append(100)
    large = appending.body("large", LARGE, 400)
    await appending.settle()
    for number in range(5):  # there is always one that is not durable yet
        appending.body(f"small {number}", 10, 100)
        await appending.settle()
        assert appending.let_in == []
    await appending.sync(0)
    assert large.done()
    assert appending.let_in[0] == "large", "who came later did not pass it"
    assert appending.let_in[1:] == [f"small {number}" for number in range(5)]


async def test_they_are_let_in_in_the_order_in_which_they_came(appending: Appending) -> None:
    appending.append(900)
    for name, size, then in (("a", 100, 200), ("b", 400, 800), ("c", 10, 20), ("d", 300, 600)):
        appending.body(name, size, then)
    await appending.settle()
    assert appending.let_in == []
    let_in: list[str] = []
    for number in range(4):
        await appending.sync(number)
        let_in.append("".join(appending.let_in))
    assert let_in == ["ab", "abc", "abcd", "abcd"], "b fits beside a, and c only without it"


@pytest.mark.parametrize("who", [0, 1])
async def test_one_that_is_cancelled_while_it_waits_hands_its_turn_on(appending: Appending, who: int) -> None:
    appending.append(900)
    waiting = [appending.body(name, LARGE, 0) for name in ("first", "second")]
    last = appending.body("last", 10, 0)
    await appending.settle()
    waiting[who].cancel()
    await appending.settle()
    assert waiting[who].cancelled()
    if who == 0:
        assert not waiting[1].done(), "what it waits for is not durable"
    await appending.sync(0)
    assert waiting[1 - who].done()
    assert last.done()
    assert appending.let_in == [["second", "first"][who], "last"]
    await asyncio.wait_for(appending.journal.room_for(LARGE), WITHIN_S)


async def test_the_only_one_that_waits_lets_others_in_when_it_is_cancelled(appending: Appending) -> None:
    appending.append(100)
    large, small = appending.body("large", LARGE, 0), appending.body("small", 10, 0)
    await appending.settle()
    assert appending.let_in == []
    large.cancel()
    await appending.settle()
    assert small.done(), "there was room for it"


async def test_what_brings_no_body_waits_for_nobody(appending: Appending) -> None:
    appending.append(100)
    large = appending.body("large", LARGE, 0)
    await appending.settle()
    for _ in range(3):
        appending.append(100)  # a call without a body may still bring an event
        await asyncio.wait_for(appending.journal.room_for(0), WITHIN_S)
    assert not large.done()
    await appending.sync(0)
    assert large.done(), "what came before it is durable, and it waits for nothing that came later"


async def test_without_anybody_who_waits_room_is_given_at_once(appending: Appending) -> None:
    appending.append(100)
    with pytest.raises(StopIteration):
        appending.journal.room_for(100).send(None)


async def test_waiting_has_an_end_on_a_disk_that_hangs(appending: Appending, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "ROOM_WITHIN_S", 0.01)
    appending.append(900)
    bodies = [appending.body("a", LARGE, 0), appending.body("b", LARGE, 0)]
    await asyncio.wait(bodies, timeout=WITHIN_S)
    for body in bodies:
        error = body.exception()
        assert isinstance(error, LogUnavailable)
        assert error.cause == "unsynced_bytes"
    assert len(appending.log.appends) == 1
    await appending.sync(0)
    await asyncio.wait_for(appending.journal.room_for(LARGE), WITHIN_S)


async def test_a_call_that_waited_too_long_is_answered_503(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "ROOM_WITHIN_S", 0.01)
    edge.app._journal._append_bytes_max = MAX
    begun = edge.begin(Exchange("POST", "/post", b"1", headers=KEY))
    await asyncio.sleep(0)
    large = Exchange("POST", "/post", b"1".ljust(MAX), headers=KEY)
    await asyncio.wait({edge.begin(large)}, timeout=WITHIN_S)
    assert large.answer == (503, b"the event store is busy; try again")
    assert ("retry-after", "5") in large.answer_headers
    edge.log.appends[0][1].set_result(None)
    await begun
    assert (edge.app._gate.requests, edge.app._gate.body_bytes) == (0, 0)
