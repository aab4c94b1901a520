"""Who comes first: so many calls at one time, each on a thread, so many more that wait for them, and no more.

What waits holds no thread, so nothing else waits for it. When its turn comes, whoever asked may have gone, or may not
ask any more: `still_wanted` raises then, and the turn goes to the next.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

RETRY_AFTER_S = 5

_Answer = TypeVar("_Answer")


class TooManyWait(Exception):
    """Nothing was begun; the text says what to do, and the same call may be sent again after `RETRY_AFTER_S`."""


class Turns:
    """For calls of one kind, `what` in the plural; all its methods are called on one event loop."""

    def __init__(self, what: str, at_once: int, waiting_max: int) -> None:
        self._what = what
        self._at_once = at_once
        self._waiting_max = waiting_max
        self._waiting = 0
        self._free = asyncio.Semaphore(at_once)
        self._threads = ThreadPoolExecutor(at_once, what)

    async def take(self, call: Callable[[], _Answer], still_wanted: Callable[[], Awaitable[None]]) -> _Answer:
        """What `call` returns. Raises `TooManyWait`, and what both raise."""
        if self._free.locked() and self._waiting >= self._waiting_max:
            raise TooManyWait(
                f"{self._at_once} {self._what} run and {self._waiting} wait already; send it again in"
                f" {RETRY_AFTER_S} s. No query runs for longer than `sql.seconds_max`; where somebody asks too much,"
                " `catchment token` ends it"
            )
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        try:
            await still_wanted()
            return await asyncio.get_running_loop().run_in_executor(self._threads, copy_context().run, call)
        finally:
            self._free.release()
