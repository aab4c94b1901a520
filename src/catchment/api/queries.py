"""The queries that somebody puts to the core: they wait for their turn, are answered by the store on a thread of their
own, counted, and traced."""

import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any

from catchment.api.turns import TooManyWait, Turns
from catchment.settings import Sql
from catchment.store.store import Answer, QueryError, Store
from catchment.telemetry.figures import SECONDS, Counter, Histogram
from catchment.telemetry.tracing import Tracing

OK, REFUSED, FAILED, BUSY = "ok", "refused", "failed", "busy"


class Queries:
    """By the endpoint that they came to. `counts` are by endpoint and outcome: `refused` is the asker's fault, `busy`
    are those for which there was no place to wait."""

    def __init__(self, store: Store, settings: Sql, tracing: Tracing | None) -> None:
        self._store = store
        self._turns = Turns("queries", settings.queries_max, settings.queries_waiting_max)
        self._tracing = tracing
        self._lock = threading.Lock()
        self.counts = Counter()
        self.seconds: dict[str, Histogram] = {}

    async def ask(
        self, endpoint: str, sql: str, parameters: Mapping[str, Any], still_wanted: Callable[[], Awaitable[None]]
    ) -> Answer:
        """The answer. Raises `QueryError`, `TooManyWait`, and what `still_wanted` raises when its turn has come."""
        answer = partial(self._answer, endpoint, sql, parameters, time.perf_counter())
        try:
            return await self._turns.take(answer, still_wanted)
        except TooManyWait:
            with self._lock:
                self.counts.add((endpoint, BUSY))
            raise

    def _answer(self, endpoint: str, sql: str, parameters: Mapping[str, Any], started: float) -> Answer:
        outcome = FAILED
        try:
            with self._tracing.query(endpoint) if self._tracing else nullcontext():
                answer = self._store.query(sql, parameters)
            outcome = OK
            return answer
        except QueryError:
            outcome = REFUSED
            raise
        finally:
            with self._lock:
                self.counts.add((endpoint, outcome))
                self.seconds.setdefault(endpoint, Histogram(SECONDS)).observe(time.perf_counter() - started)
