"""The contract of the log as tests; every implementation inherits `LogContract` and gives it a `harness`."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Protocol

import pytest

from catchment.errors import LogUnavailable
from catchment.log.log import Batch, LogReader, LogWriter


class Harness(Protocol):
    """What an implementation brings: fresh writers and readers on one log."""

    def writer(self) -> LogWriter: ...
    def reader(self) -> LogReader: ...


def line(number: int) -> bytes:
    return b'{"app":"a","n":%d}\n' % number


def records(batch: Batch | None) -> list[bytes]:
    """The record lines of a batch, without what the implementation puts between them."""
    lines = batch.lines.splitlines(keepends=True) if batch else []
    return [text for text in lines if text.startswith(b'{"app":')]


def drain(reader: LogReader, bytes_max: int = 1 << 20) -> list[bytes]:
    """Everything there is, committed."""
    found: list[bytes] = []
    while batch := reader.read(bytes_max):
        found += records(batch)
        reader.commit(batch)
    return found


class LogContract:
    """What every log promises."""

    @pytest.fixture
    def harness(self) -> Harness:
        pytest.fail("an implementation gives its own")

    @pytest.fixture
    async def writer(self, harness: Harness) -> AsyncIterator[LogWriter]:
        writer = harness.writer()
        yield writer
        await writer.close()

    async def test_what_was_appended_is_read_in_order(self, harness: Harness, writer: LogWriter) -> None:
        for number in range(50):
            await writer.append(line(number))
        assert drain(harness.reader()) == [line(number) for number in range(50)]

    async def test_appends_made_together_are_all_durable(self, harness: Harness, writer: LogWriter) -> None:
        await asyncio.gather(*(writer.append(line(number)) for number in range(500)))
        assert drain(harness.reader()) == [line(number) for number in range(500)]

    async def test_what_was_committed_is_not_read_again(self, harness: Harness, writer: LogWriter) -> None:
        await writer.append(line(1))
        assert drain(harness.reader()) == [line(1)]
        await writer.append(line(2))
        assert drain(harness.reader()) == [line(2)]
        assert harness.reader().read(1 << 20) is None

    async def test_what_was_read_but_not_committed_is_read_again(self, harness: Harness, writer: LogWriter) -> None:
        await writer.append(line(1))
        reader = harness.reader()
        first = reader.read(1 << 20)
        assert records(first) == records(reader.read(1 << 20)) == records(harness.reader().read(1 << 20)) == [line(1)]

    async def test_an_append_is_never_split(self, harness: Harness, writer: LogWriter) -> None:
        big = b"".join(line(number) for number in range(1000))
        await writer.append(big)
        await writer.append(line(0))
        first = harness.reader().read(bytes_max=10)
        assert b"".join(records(first)).startswith(big)

    async def test_reading_in_small_steps_gives_everything_once(self, harness: Harness, writer: LogWriter) -> None:
        for number in range(200):
            await writer.append(line(number))
        assert drain(harness.reader(), bytes_max=1) == [line(number) for number in range(200)]

    async def test_two_writers_do_not_mix(self, harness: Harness, writer: LogWriter) -> None:
        other = harness.writer()
        mine, theirs = range(0, 100), range(100, 200)
        await asyncio.gather(
            *itertools.chain.from_iterable(
                (writer.append(line(a)), other.append(line(b))) for a, b in zip(mine, theirs, strict=True)
            )
        )
        await other.close()
        found = drain(harness.reader())
        assert sorted(found) == sorted(line(number) for number in range(200))
        for numbers in (mine, theirs):
            expected = [line(number) for number in numbers]
            assert [text for text in found if text in expected] == expected

    async def test_a_new_writer_goes_on_after_the_old_one(self, harness: Harness, writer: LogWriter) -> None:
        await writer.append(line(1))
        await writer.close()
        assert drain(harness.reader()) == [line(1)]
        again = harness.writer()
        await again.append(line(2))
        await again.close()
        assert drain(harness.reader()) == [line(2)]

    async def test_a_closed_writer_takes_nothing(self, writer: LogWriter) -> None:
        await writer.close()
        with pytest.raises(LogUnavailable):
            await writer.append(line(1))

    async def test_closing_makes_what_was_appended_durable(self, harness: Harness, writer: LogWriter) -> None:
        futures = [writer.append(line(number)) for number in range(100)]
        await writer.close()
        await asyncio.gather(*futures)
        assert drain(harness.reader()) == [line(number) for number in range(100)]

    async def test_the_backlog_is_what_was_not_committed(self, harness: Harness, writer: LogWriter) -> None:
        reader = harness.reader()
        assert reader.backlog().unread_bytes == 0
        await writer.append(line(1))
        assert reader.backlog().unread_bytes >= len(line(1))
        drain(reader)
        assert reader.backlog().unread_bytes == 0
