"""What calls with an Idempotency-Key were answered: a small SQLite file that all edge processes share.

An answer is written after its records are durable and before it is given, so it never promises what is not there. What
the file loses, by a crash between the two, a power cut, its limit of rows or a failing disk, costs no event and doubles
none: the call's derived ids make the same records again (`idempotency`).

SQLite may wait for its lock or its disk, so one thread of the process does all of it, and the event loop only waits.
"""

import asyncio
import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from catchment.dialects.dialect import Answer
from catchment.edge.allowance import Allowance
from catchment.edge.idempotency import KeyedCall
from catchment.settings import Limits

FILE_NAME = "answers.sqlite"
PURGED_ROWS_MAX = 8  # at each answer that is remembered: more than come, so that the old ones do go
_LOCK_WAIT_S = 1.0
_OPEN_TRIES, _OPEN_PAUSE_S = 10, 0.05
_CALM_S = 1.0  # after a failure nothing is tried for a while, so that no call waits for a broken disk again and again

# Rows are numbered in the order in which they expire, but for a change of the setting, so the oldest are the first.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    name BLOB NOT NULL UNIQUE,
    asked BLOB NOT NULL,
    expires INTEGER NOT NULL,
    status INTEGER NOT NULL,
    headers TEXT NOT NULL,
    body BLOB NOT NULL
)
"""
_RECALL = "SELECT asked, status, headers, body FROM answers WHERE name = ? AND expires > ?"
_FORGET = "DELETE FROM answers WHERE name = ? AND expires <= ?"
_REMEMBER = "INSERT OR IGNORE INTO answers (name, asked, expires, status, headers, body) VALUES (?, ?, ?, ?, ?, ?)"
_PURGE = """
DELETE FROM answers
WHERE number IN (SELECT number FROM answers ORDER BY number LIMIT ?)
    AND (expires <= ? OR number <= (SELECT max(number) FROM answers) - ?)
"""

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Remembered(NamedTuple):
    """What the key was first used for, and what that was answered."""

    asked: bytes
    answer: Answer


class Answers:
    """The memory in `file`, as one process sees it; `clock` gives seconds since 1970."""

    def __init__(self, file: Path, limits: Limits, clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, "answers")
        self._connection: sqlite3.Connection | None = None
        self._calm_until = 0.0
        self._failures = Allowance(1, "failures to remember or recall an answer were not told")
        self.adopt(limits)

    def adopt(self, limits: Limits) -> None:
        """Takes these bounds from now on; what is remembered keeps its time."""
        self._keys_max = limits.idempotency_keys_max
        self._seconds = limits.idempotency_hours * 3600

    async def recall(self, call: KeyedCall) -> Remembered | None:
        """What is remembered under the call's key; nothing where the file fails."""
        if not self._keys_max:
            return None
        return await self._run(lambda connection: _recall(connection, call, int(self._clock())))

    async def remember(self, call: KeyedCall, answer: Answer) -> None:
        """Remembers the answer, unless one is under this key already; never fails."""
        if self._keys_max:
            now, expires = int(self._clock()), int(self._clock() + self._seconds)
            row = (call.name, call.asked, expires, answer.status, json.dumps(answer.headers), answer.body)
            await self._run(lambda connection: _remember(connection, row, now, self._keys_max))

    def close(self) -> None:
        """Ends the thread, after what it is at."""
        self._thread.submit(self._drop)
        self._thread.shutdown()

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._guarded, work)

    def _guarded(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        if self._connection is None and time.monotonic() < self._calm_until:
            return None
        try:
            if self._connection is None:
                self._connection = _opened(self._file)
            return work(self._connection)
        except (sqlite3.Error, OSError, ValueError) as error:
            self._drop()
            self._calm_until = time.monotonic() + _CALM_S
            if self._failures.take():
                logger.error("edge: %s fails; calls with an Idempotency-Key still count once: %s", self._file, error)
            return None

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _opened(file: Path) -> sqlite3.Connection:
    """The file, made if need be. Processes that make it at the same time may be in each other's way for a moment."""
    os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    tries = _OPEN_TRIES
    while True:
        connection = sqlite3.connect(file, timeout=_LOCK_WAIT_S, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(_SCHEMA)
            return connection
        except sqlite3.OperationalError:
            connection.close()
            tries -= 1
            if not tries:
                raise
            time.sleep(_OPEN_PAUSE_S)
        except sqlite3.Error:
            connection.close()
            raise


def _recall(connection: sqlite3.Connection, call: KeyedCall, now: int) -> Remembered | None:
    row = connection.execute(_RECALL, (call.name, now)).fetchone()
    if row is None:
        return None
    asked, status, headers, body = row
    return Remembered(asked, Answer(status, [(name, value) for name, value in json.loads(headers)], body))


def _remember(connection: sqlite3.Connection, row: tuple[object, ...], now: int, keys_max: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(_FORGET, (row[0], now))
        connection.execute(_REMEMBER, row)
        connection.execute(_PURGE, (PURGED_ROWS_MAX, now, keys_max))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
