"""The edge's side of the ledger: what a process says that it appended."""

import asyncio
import errno
import json
import os
import random
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from catchment.books import MINUTE_US, Books
from catchment.dialects.dialect import Arrival
from catchment.edge import arrivals
from catchment.edge.journal import Journal
from catchment.errors import LogUnavailable
from catchment.log.disk import LocalDisk
from catchment.log.reader import SegmentReader
from catchment.log.writer import SegmentWriter
from catchment.record import Record
from catchment.settings import Log
from tests.edge.test_app import KEY, Edge, Exchange, edge, post
from tests.log.test_segments import FaultyDisk

__all__ = ["edge"]  # a fixture

MINUTE = 29_400_000
START_US = MINUTE * MINUTE_US


def records(count: int, first_us: int = START_US, app: str = "a") -> list[Record]:
    return [
        Record(app=app, source="s", kind="event", event_id=str(number), received_us=first_us + number, payload="")
        for number in range(count)
    ]


def told(entered: list[Record]) -> list[int]:
    return [record.tally for record in entered]


def test_the_first_record_of_an_append_has_the_total_so_far_of_its_application() -> None:
    books, given = Books(), [records(1), records(3), records(2, app="b"), records(1)]
    for part in given:
        books.enter(part)
    assert [told(part) for part in given] == [[1], [4, 0, 0], [2, 0], [5]]
    assert [bool(record.edge) for record in given[1]] == [True, False, False]


def test_an_append_over_the_end_of_a_minute_is_told_in_both() -> None:
    books, part = Books(), records(5, START_US + MINUTE_US - 2)
    books.enter(part)
    assert told(part) == [2, 0, 3, 0, 0]


def test_what_was_not_appended_is_taken_back() -> None:
    books, part = Books(), records(1)
    books.enter(records(2))
    books.enter(records(5, START_US + MINUTE_US - 2))
    books.withdraw()
    books.enter(part)
    assert told(part) == [3]


def test_after_an_append_of_unknown_fate_another_process_counts() -> None:
    books, before, after = Books(), records(2), records(1)
    name = books.enter(before)
    books.begin_anew(name)
    books.begin_anew(name)  # of one group of the log, each append fails
    books.enter(after)
    assert told(after) == [1]
    assert after[0].edge not in ("", name)
    assert [record.tally for record in books.close_minutes(START_US + MINUTE_US)] == [1]


def test_a_minute_is_closed_once_with_its_total() -> None:
    books = Books()
    books.enter(records(2))
    books.enter(records(1, START_US + MINUTE_US))
    assert books.close_minutes(START_US) == []
    [closing] = books.close_minutes(START_US + MINUTE_US)
    assert (closing.kind, closing.app, closing.tally, closing.received_us) == ("tally", "a", 2, START_US)
    assert books.close_minutes(START_US + MINUTE_US) == []


@pytest.mark.parametrize("seed", range(5))
async def test_they_balance_whatever_fails_on_the_way_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr("catchment.log.writer.CALM_S", 0.0)  # so that much is appended around each failure
    chance, disk, settings = random.Random(seed), FaultyDisk(), Log(segment_bytes_max=4096)

    def fail_now_and_then() -> None:
        time.sleep(0.0005)  # the next ones are appended meanwhile
        if chance.random() < 0.3:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    disk.fail_append = disk.fail_sync = fail_now_and_then
    loop = asyncio.get_running_loop()
    journal = Journal(SegmentWriter(disk, tmp_path, settings, loop=loop), append_bytes_max=1 << 20)
    failed = 0

    async def send(client: int) -> None:
        nonlocal failed
        for number in range(40):
            try:
                await journal.append(records(1 + number % 3, START_US + (client * 40 + number) * 3))
            except LogUnavailable:
                failed += 1

    await asyncio.gather(*map(send, range(8)))
    await journal.close()
    assert failed
    told, there = Counter[str](), Counter[str]()
    batch = SegmentReader(LocalDisk(), tmp_path, settings).read(1 << 24)
    assert batch
    name = ""
    for text in batch.lines.splitlines():  # the first record of each append has the name
        record = json.loads(text)
        name = record.get("edge", name)
        there[name] += 1
        told[name] = max(told[name], record.get("tally", 0))
    assert there == told
    assert len(told) > 1


class TestEdge:
    @pytest.fixture(autouse=True)
    def early(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A clock by which a minute has just begun: the books begin anew with each."""
        since_ns = time.time_ns() % (MINUTE_US * 1000)
        clock = SimpleNamespace(time_ns=lambda: time.time_ns() - since_ns, monotonic_ns=time.monotonic_ns)
        monkeypatch.setattr(arrivals, "time", clock)

    async def test_a_refusal_is_in_the_books_too(self, edge: Edge) -> None:
        await edge.send(post(3))
        await edge.send(Exchange("GET", "/nowhere", headers=KEY))
        assert [line.get("tally") for line in edge.log.lines(0)] == [3, None, None]
        assert edge.log.lines()[0]["tally"] == 4

    async def test_what_the_log_does_not_take_is_not_in_the_books(
        self, edge: Edge, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(lines: bytes) -> Any:
            raise LogUnavailable("too much waits")

        await edge.send(post(1))
        with monkeypatch.context() as patch:
            patch.setattr(edge.log, "append", full)
            assert await edge.send(post(1)) == (503, b"the event store is busy; try again")
        await edge.send(post(1))
        assert [edge.log.lines(number)[0]["tally"] for number in (0, 1)] == [1, 2]
        assert edge.log.lines(0)[0]["edge"] == edge.log.lines(1)[0]["edge"]

    async def test_what_fails_on_the_way_to_the_disk_makes_it_another_process(self, edge: Edge) -> None:
        await edge.send(post(1), LogUnavailable("disk full"))
        await edge.send(post(1))
        assert [edge.log.lines(number)[0]["tally"] for number in (0, 1)] == [1, 1]
        assert edge.log.lines(0)[0]["edge"] != edge.log.lines(1)[0]["edge"]

    async def test_refusals_beyond_the_allowance_become_one_record_with_their_count(self, edge: Edge) -> None:
        limits = edge.settings.limits.model_copy(update={"unauthenticated_per_minute_max": 2})
        edge.app.adopt(edge.settings.model_copy(update={"limits": limits}))
        for _ in range(5):
            await edge.send(Exchange("POST", "/post", b"1"))
        assert len(edge.log.appends) == 2
        edge.app._close_books(edge.app._arrivals.next().received_us + MINUTE_US)
        [counted], [closing] = edge.log.lines(2), edge.log.lines(3)
        assert (counted["kind"], counted["app"], counted["code"], counted["status"]) == ("rejection", "", "key", 401)
        assert (counted["count"], counted["tally"], closing["tally"]) == (3, 5, 5)

    async def test_a_defect_while_closing_a_minute_ends_that_attempt_and_not_the_bookkeeping(
        self, edge: Edge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr("catchment.edge.app.MINUTE_CLOSES_S", 0.001)
        monkeypatch.setattr("catchment.edge.app.BOOKS_STAY_OPEN_S", 0.0)
        await edge.send(post(3))
        later_us = edge.app._arrivals.next().received_us + MINUTE_US
        monkeypatch.setattr(edge.app._arrivals, "next", lambda: Arrival(datetime.now(UTC), later_us, str))
        close, failures = edge.app._journal.close_minutes, [RuntimeError("a defect"), OSError("another")]
        closed = asyncio.Event()

        def fail_then_close(until_us: int, rejections: Any) -> None:
            if failures:
                raise failures.pop()
            close(until_us, rejections)
            closed.set()

        monkeypatch.setattr(edge.app._journal, "close_minutes", fail_then_close)
        keeping = asyncio.ensure_future(edge.app._keep_books())
        waiting = asyncio.ensure_future(closed.wait())
        await asyncio.wait({keeping, waiting}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
        assert closed.is_set()
        assert not keeping.done()
        keeping.cancel()
        assert [(line["kind"], line["tally"]) for line in edge.log.lines(1)] == [("tally", 3)]
        assert caplog.text.count("defect while closing the books") == 2
