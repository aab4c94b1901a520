"""The queries that somebody puts to the core: answered by the store on a thread of its own, counted, and traced."""

import threading
import time
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from starlette.concurrency import run_in_threadpool

from catchment.store.store import Answer, QueryError, Store
from catchment.telemetry.figures import SECONDS, Counter, Histogram
from catchment.telemetry.tracing import Tracing

OK, REFUSED, FAILED = "ok", "refused", "failed"


class Queries:
    """By the endpoint that they came to. `counts` are by endpoint and outcome: `refused` is the asker's fault."""

    def __init__(self, store: Store, tracing: Tracing | None) -> None:
        self._store = store
        self._tracing = tracing
        self._lock = threading.Lock()
        self.counts = Counter()
        self.seconds: dict[str, Histogram] = {}

    async def ask(self, endpoint: str, sql: str, parameters: Mapping[str, Any]) -> Answer:
        """The answer. Raises `QueryError`."""
        return await run_in_threadpool(self._ask, endpoint, sql, parameters)

    def _ask(self, endpoint: str, sql: str, parameters: Mapping[str, Any]) -> Answer:
        started, outcome = time.perf_counter(), FAILED
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
