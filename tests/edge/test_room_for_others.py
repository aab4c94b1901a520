"""What a call that is refused holds while its sender waits for the answer: nothing, neither counted nor uncounted."""

import asyncio
import gc
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catchment import maintenance
from catchment.edge import app, memory, request
from catchment.edge.gate import Busy
from catchment.edge.request import Request
from catchment.log.room import DISK_FULL, LOG_FULL
from catchment.settings import Limits
from tests.edge.test_app import KEY, Edge, Exchange, post

FOR_EVER_S = 3600.0
WITHIN_S = 60.0  # what is bound to happen


class Part(bytes):
    """Bytes that say when nothing refers to them any more."""

    alive = 0

    def __new__(cls, content: bytes) -> "Part":
        cls.alive += 1
        return super().__new__(cls, content)

    def __del__(self) -> None:
        type(self).alive -= 1


class Coming(Exchange):
    """A request whose body comes part by part, each when the test sends it; an empty one is the end."""

    def __init__(self, path: str = "/post", headers: dict[str, str] | None = None) -> None:
        super().__init__("POST", path, headers=headers)
        self._parts: asyncio.Queue[bytes] = asyncio.Queue()

    async def send(self, part: bytes) -> None:
        self._parts.put_nowait(part)
        del part
        await settle()

    async def __call__(self) -> bytes:
        self.reads += 1
        return await self._parts.get()

    def __aiter__(self) -> "Coming":
        self.reads += 1
        return self

    async def __anext__(self) -> bytes:
        return await self._parts.get() or await self._end()

    async def _end(self) -> bytes:
        raise StopAsyncIteration


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def begin(edge: Edge, call: Coming) -> "asyncio.Task[None]":
    """The call, of whose body two parts have come."""
    task = edge.begin(call)
    await settle()
    await call.send(Part(b"1" * 10))
    await call.send(Part(b"1" * 10))
    return task


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    gc.collect()  # of an earlier test no part is alive
    made = Edge(tmp_path)
    yield made
    made.answers.close()


def under_way(edge: Edge) -> tuple[int, int]:
    return edge.app._gate.requests, edge.app._gate.body_bytes


class TestAnAnswerThatIsToldLater:
    """503 in a flood: the sender waits for it, and nothing of what it sent is held meanwhile."""

    @pytest.fixture(autouse=True)
    def flood(self, edge: Edge) -> None:
        edge.app._gate.pause_s = lambda body_bytes: FOR_EVER_S  # type: ignore[method-assign]

    async def test_the_parts_of_a_body_that_gave_way_are_gone_before_it_is_told(self, edge: Edge) -> None:
        call = Coming(headers=KEY)
        task = await begin(edge, call)
        assert (under_way(edge), Part.alive) == ((1, 20), 2)
        [place] = edge.app._gate.coming
        place.end(Busy)
        await settle()
        assert (call.answer, under_way(edge), Part.alive) == (None, (0, 0), 0)
        assert not task.done()
        task.cancel()
        await task

    async def test_a_body_that_found_no_room_has_given_back_all_before_it_is_told(self, edge: Edge) -> None:
        others = edge.app._gate.enter()
        others.hold(100)
        edge.app._gate.body_bytes_max = 120
        call = Coming(headers=KEY)
        task = await begin(edge, call)
        assert (under_way(edge), Part.alive) == ((2, 120), 2)
        await call.send(Part(b"1"))
        assert (call.answer, under_way(edge), Part.alive) == (None, (1, 100), 0)
        assert not task.done()
        task.cancel()
        await task

    async def test_a_body_that_has_no_room_without_its_encoding_is_forgotten_before_it_is_told(
        self, edge: Edge
    ) -> None:
        others = edge.app._gate.enter()
        others.hold(100)
        edge.app._gate.body_bytes_max = 200
        call: Any = Exchange("POST", "/post", gzip.compress(b" " * 999), headers=KEY | {"content-encoding": "gzip"})
        task = edge.begin(call)
        await settle()
        assert (call.answer, under_way(edge)) == (None, (1, 100))
        requests = [found for found in gc.get_objects() if isinstance(found, Request)]  # others' may still lie about
        assert [found.body for found in requests if found.sight.scope is call] == [b""]
        task.cancel()
        await task


class TestTheBodyOfACallThatWasRefusedWithoutIt:
    """It is let in for a moment, so that the sender reads why; whoever sends nothing of it keeps nobody out."""

    @pytest.fixture
    def silent(self) -> list[Coming]:
        return [Coming(headers={"content-length": "65536"}) for _ in range(3)]

    async def test_it_holds_no_place_and_no_byte_while_it_comes(self, edge: Edge, silent: list[Coming]) -> None:
        tasks = [edge.begin(call) for call in silent]
        await settle()
        await silent[0].send(Part(b"1" * 1000))
        assert [call.answer for call in silent] == [None] * 3
        assert (under_way(edge), Part.alive, edge.app._gate.coming) == ((0, 0), 0, set())
        assert await edge.send(post(1)) == (201, b"1000")
        for call in silent:
            await call.send(b"")
        await asyncio.wait(tasks, timeout=WITHIN_S)
        assert [call.answer for call in silent] == [(401, b"no key")] * 3

    async def test_it_is_not_waited_for_for_long(
        self, edge: Edge, silent: list[Coming], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(request, "DRAIN_SECONDS_MAX", 0.05)
        await asyncio.wait_for(edge.begin(silent[0]), timeout=WITHIN_S)
        assert silent[0].answer == (401, b"no key")

    async def test_of_more_than_a_few_hundred_none_is_waited_for(
        self, edge: Edge, silent: list[Coming], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(app, "DRAINS_MAX", 2)
        tasks = [edge.begin(call) for call in silent]
        await settle()
        assert [call.answer for call in silent] == [None, None, (401, b"no key")]
        await silent[0].send(b"")
        later = Coming(headers={"content-length": "1"})
        waits = edge.begin(later)
        await settle()
        assert (silent[0].answer, later.answer) == ((401, b"no key"), None)
        for task in (*tasks, waits):
            task.cancel()
        await asyncio.wait([*tasks, waits], timeout=WITHIN_S)
        assert edge.app._drains == 0

    async def test_of_large_ones_only_a_few_are_waited_for_and_they_keep_out_no_small_one(
        self, edge: Edge, silent: list[Coming], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(app, "LARGE_DRAINS_MAX", 2)
        large = [Coming(headers={"content-length": "65537"}) for _ in range(3)]
        tasks = [edge.begin(call) for call in [*large, *silent]]
        await settle()
        assert [call.answer for call in large] == [None, None, (401, b"no key")]
        assert [call.answer for call in silent] == [None] * 3
        for call in [*large[:2], *silent]:
            await call.send(b"")
        await asyncio.wait(tasks, timeout=WITHIN_S)
        assert [call.answer for call in [*large, *silent]] == [(401, b"no key")] * 6
        assert (edge.app._drains, edge.app._large_drains) == (0, 0)

    async def test_a_large_one_is_forgotten_part_by_part_and_not_waited_for_for_long(
        self, edge: Edge, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(request, "LARGE_DRAIN_SECONDS_MAX", 5.0)
        large = Coming(headers={"content-length": "1000000"})
        task = edge.begin(large)
        await settle()
        for _ in range(10):
            await large.send(Part(b"1" * 1000))
        assert (large.answer, under_way(edge), Part.alive) == (None, (0, 0), 0)
        await asyncio.wait_for(task, timeout=WITHIN_S)
        assert large.answer == (401, b"no key")

    async def test_one_that_is_too_large_for_its_endpoint_is_let_in_too(self, edge: Edge) -> None:
        call = Coming(headers=KEY | {"content-length": "1000000"})
        task = edge.begin(call)
        await settle()
        assert (call.answer, under_way(edge)) == (None, (0, 0))
        await call.send(b"")
        await asyncio.wait_for(task, timeout=WITHIN_S)
        assert call.answer is not None
        assert call.answer[0] == 413

    async def test_one_that_is_larger_than_any_is_not_let_in(self, edge: Edge) -> None:
        large = Coming(headers={"content-length": str(request.DRAINED_BYTES_MAX + 1)})
        await asyncio.wait_for(edge.begin(large), timeout=WITHIN_S)
        assert (large.answer, large.reads) == ((401, b"no key"), 0)

    def test_what_a_proxy_lets_through_is_let_in(self) -> None:
        assert memory.largest_body_bytes(Limits()) == request.DRAINED_BYTES_MAX


class TestWhatWasStillComingWhenNothingIsTakenAnyMore:
    async def test_it_is_refused_in_maintenance_and_not_kept(self, edge: Edge, tmp_path: Path) -> None:
        call = Coming(headers=KEY | {"content-length": "1"})
        task = edge.begin(call)
        await settle()
        maintenance.begin(tmp_path, "")
        edge.maintenance.look()
        await call.send(b"1")
        await asyncio.wait({task}, timeout=WITHIN_S)
        assert call.answer == (503, b"the server is in maintenance; try again later")
        assert ("retry-after", "30") in call.answer_headers
        assert edge.log.appends == []

    @pytest.mark.parametrize("short", [DISK_FULL, LOG_FULL])
    async def test_it_is_refused_where_there_is_no_room_any_more(self, edge: Edge, short: str) -> None:
        call = Coming(headers=KEY | {"content-length": "1"})
        task = edge.begin(call)
        await settle()
        edge.room.short = short
        await call.send(b"1")
        await asyncio.wait({task}, timeout=WITHIN_S)
        assert call.answer == (503, b"the server has no room for events now; try again later")
        assert edge.log.appends == []

    async def test_what_was_handed_to_the_log_is_answered_as_ever(self, edge: Edge, tmp_path: Path) -> None:
        call = post(1)
        task = edge.begin(call)
        await settle()
        maintenance.begin(tmp_path, "")
        edge.maintenance.look()
        edge.log.appends[0][1].set_result(None)
        await task
        assert call.answer == (201, b"1000")
