"""`/health/ready` while the log's disk takes nothing: a load balancer goes elsewhere, and comes back."""

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from catchment.edge.journal import Journal
from catchment.log.room import RoomWatch
from catchment.log.writer import CALM_S, FAILING_S, SegmentWriter
from catchment.settings import Log
from tests.edge.test_app import Edge, Exchange, post
from tests.log.test_segments import FaultyDisk, failing

READY = (200, b'{"status":"ok"}')
FAILING = (503, b'{"status":"disk_failing"}')


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Real(Edge):
    """The edge with the real log on a disk that can fail; the log's thread is the test."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.disk, self.clock = FaultyDisk(), Clock()
        self.writer = SegmentWriter(
            self.disk,
            folder / "log",
            self.settings.log,
            loop=asyncio.get_running_loop(),
            clock=self.clock,
            background=False,
        )
        self.app._journal = Journal(self.writer, self.settings.log.unsynced_bytes_max)

    async def status(self, exchange: Exchange) -> int:
        task = self.begin(exchange)
        await asyncio.sleep(0)
        self.writer.commit_waiting()
        await task
        assert exchange.answer
        return exchange.answer[0]

    async def ready(self) -> Any:
        exchange = Exchange("GET", "/health/ready")
        await self.begin(exchange)
        return exchange.answer


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Real]:
    made = Real(tmp_path)
    yield made
    made.disk.fail_sync = made.disk.fail_append = lambda: None
    await made.writer.close()
    made.answers.close()


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
async def test_it_is_not_ready_until_a_commit_succeeds(edge: Real, code: int) -> None:
    assert (await edge.status(post(1)), await edge.ready()) == (201, READY)
    edge.disk.fail_sync = failing(code)
    assert (await edge.status(post(1)), await edge.ready()) == (503, FAILING)
    edge.clock.now += CALM_S
    assert (await edge.status(post(1)), await edge.ready()) == (503, FAILING)
    edge.disk.fail_sync = lambda: None
    assert await edge.ready() == FAILING
    edge.clock.now += CALM_S
    assert (await edge.status(post(1)), await edge.ready()) == (201, READY)


async def test_where_nobody_sends_it_is_ready_after_a_while_to_be_tried_again(edge: Real) -> None:
    edge.disk.fail_append = failing(errno.EIO)
    assert await edge.status(post(1)) == 503
    edge.clock.now += FAILING_S - 1
    assert await edge.ready() == FAILING
    edge.clock.now += 1
    assert await edge.ready() == READY
    assert (await edge.status(post(1)), await edge.ready()) == (503, FAILING)


class Blind(FaultyDisk):
    fail_look: Callable[[], None] = staticmethod(lambda: None)

    def folders(self, root: Path) -> list[str]:
        self.fail_look()
        return super().folders(root)


def test_a_disk_that_cannot_be_looked_at_is_told_once_and_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = Blind()
    watch = RoomWatch(disk, tmp_path, Log())
    watch.look()
    assert caplog.messages == []
    disk.fail_look = failing(errno.EIO)
    for _ in range(3):
        watch.look()
    [told] = caplog.messages
    assert "nobody can tell how much room there is" in told
    assert watch.short == ""
    disk.fail_look = lambda: None
    watch.look()
    disk.fail_look = failing(errno.EIO)
    watch.look()
    assert len(caplog.messages) == 2
