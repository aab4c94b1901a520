"""The log as the edge writes it: each append is entered into the books (docs/decisions/0007), or leaves no trace there.

Records are promised, so whoever appends them waits. Rejections and closed books are not: they are handed to the log,
and a failure is told in the log output.
"""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from catchment.books import Books
from catchment.errors import LogUnavailable
from catchment.log.log import LogWriter
from catchment.record import Record, RejectionRecord, encode_lines

ROOM_WITHIN_S = 30.0  # what waits longer for the disk is answered 503
RECORDS_TO_BODY = 2  # bytes, about: a record has the element as sent, and much of it again in its fields
_ENCODED_AT_ONCE = 2000

logger = logging.getLogger(__name__)


class AppendTooLarge(Exception):
    """The records of one request take more bytes than may wait for the disk."""


class Journal:
    """Of one edge process; an append has at most `append_bytes_max`. `waiting_bytes` are appended and not durable."""

    def __init__(self, log: LogWriter, append_bytes_max: int) -> None:
        self._log = log
        self._append_bytes_max = append_bytes_max
        self._books = Books()
        self._progress: asyncio.Future[None] | None = None
        self._turn = asyncio.Lock()  # which those who wait for room get in the order in which they came
        self._in_line = 0  # how many these are
        self._settled_bytes = 0  # durable or failed, since the start
        self.waiting_bytes = 0

    @property
    def failing(self) -> bool:
        """See `LogWriter.failing`."""
        return self._log.failing

    async def room_for(self, body_bytes: int) -> None:
        """Waits until the records of a body of so many bytes are likely to be taken: to make them for nothing costs
        most where the disk is slow. What waits here has its place at the gate, so it is bounded.

        Nobody passes one who came before, or a large body would wait for as long as small ones keep coming. A call
        without a body waits for nobody: it mostly reads, and brings one event at most. Raises `LogUnavailable` where it
        takes too long.
        """
        if not self._in_line and self._fits(body_bytes):
            return
        if body_bytes:
            await self._wait_in_line(body_bytes)

    async def _wait_in_line(self, body_bytes: int) -> None:
        self._in_line += 1
        try:
            async with asyncio.timeout(ROOM_WITHIN_S), self._turn:
                # of one that never fits, what came later is nothing to wait for
                settled = self._settled_bytes + self.waiting_bytes
                while not self._fits(body_bytes) and self._settled_bytes < settled:
                    if self._progress is None:
                        self._progress = asyncio.get_running_loop().create_future()
                    await asyncio.shield(self._progress)
        except TimeoutError:
            reason = "the disk did not take what was appended before in time"
            raise LogUnavailable(reason, cause="unsynced_bytes") from None
        finally:
            self._in_line -= 1

    def _fits(self, body_bytes: int) -> bool:
        waiting = self.waiting_bytes
        return not waiting or waiting + body_bytes * RECORDS_TO_BODY <= self._append_bytes_max

    def append(self, records: list[Record]) -> "asyncio.Future[None]":
        """Done once the records of one request are durable, or fails with `LogUnavailable`. Raises that, or
        `AppendTooLarge`."""
        edge = self._books.enter(records)
        try:
            lines = self._encoded(records)
            durable = self._log.append(lines)
        except BaseException:
            self._books.withdraw()
            raise
        self.waiting_bytes += len(lines)
        # also where the client does not wait for it
        durable.add_done_callback(partial(self._settle, edge, len(lines)))
        return durable

    def note(self, rejection: RejectionRecord) -> None:
        """Keeps a rejection, if the log takes it."""
        edge = self._books.enter_rejection(rejection)
        try:
            durable = self._log.append(encode_lines([rejection]))
        except LogUnavailable as error:
            self._books.withdraw()
            logger.error("edge: a rejection was not kept: %s", error)
        except BaseException:
            self._books.withdraw()
            raise
        else:
            durable.add_done_callback(partial(self._count_anew, edge))
            durable.add_done_callback(_tell_unkept)

    def close_minutes(self, until_us: int, rejections: Sequence[RejectionRecord]) -> None:
        """Writes what was refused beyond the allowance, then the totals of all minutes before this arrival number."""
        for rejection in rejections:
            self.note(rejection)
        closings = self._books.close_minutes(until_us)
        if not closings:
            return
        try:
            self._log.append(encode_lines(closings)).add_done_callback(_tell_unclosed)
        except LogUnavailable as error:
            logger.error("edge: the books of a minute were not closed: %s", error)

    async def close(self) -> None:
        """Lets the log finish what waits."""
        await self._log.close()

    def _encoded(self, records: list[Record]) -> bytes:
        """The lines, some at a time, so that those of a request that is too large are never all made."""
        parts, size = [], 0
        for begin in range(0, len(records), _ENCODED_AT_ONCE):
            lines = encode_lines(records[begin : begin + _ENCODED_AT_ONCE])
            size += len(lines)
            if size > self._append_bytes_max:
                raise AppendTooLarge
            parts.append(lines)
        lines = parts[0] if len(parts) == 1 else b"".join(parts)
        if lines.count(b"\n") != len(records):
            raise AssertionError("a record is not one line")
        return lines

    def _settle(self, edge: str, size: int, durable: "asyncio.Future[Any]") -> None:
        self.waiting_bytes -= size
        self._settled_bytes += size
        if self._progress is not None:
            self._progress.set_result(None)
            self._progress = None
        self._count_anew(edge, durable)

    def _count_anew(self, edge: str, durable: "asyncio.Future[Any]") -> None:
        """Nobody knows what the log has of an append that failed."""
        if durable.cancelled() or durable.exception():
            self._books.begin_anew(edge)


def _tell_unkept(durable: "asyncio.Future[Any]") -> None:
    if not durable.cancelled() and (error := durable.exception()):
        logger.error("edge: a rejection was not kept: %s", error)


def _tell_unclosed(durable: "asyncio.Future[Any]") -> None:
    if not durable.cancelled() and (error := durable.exception()):
        logger.error("edge: the books of a minute were not closed: %s", error)
