"""From the log into the store, without looking at a single event.

Read what is there, put it in, commit the position - in that order, so that a crash at any moment means at worst that
lines are put in twice, which the store does not show. When the store fails, the loader waits and tries again for ever:
the log keeps everything meanwhile. Only when the store takes other lines but not these, and not for want of room or the
like, does it look closer, halves them until the one that cannot be taken stands alone, and keeps that one as a
rejection. Where memory is short it halves them, too, and keeps none as a rejection.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import msgspec

from catchment.log.log import LogReader
from catchment.record import RejectionRecord, encode_lines
from catchment.settings import Loader as LoaderSettings
from catchment.store.store import Store, StoreError
from catchment.telemetry.figures import SECONDS, Histogram
from catchment.telemetry.tracing import Tracing

POLL_S_MIN, POLL_S_MAX = 0.01, 0.08  # the longer nothing came, the seldomer it looks
REST = 5  # between inserts that do not fill a batch, it rests until the insert took a fifth of the time ...
GATHER_S_MAX = 0.5  # ... but no longer than this, or events would not be visible within a second
RETRY_S_MIN, RETRY_S_MAX = 0.1, 5.0
DRAIN_S_MAX = 20.0
SINGLE_LINE_TRIES = 3
TIDY_S = 600.0  # how often the log may forget what it need not keep, where nothing is loaded
CANARY = b"{}\n"  # a line of no kind: the store takes it and keeps nothing

logger = logging.getLogger(__name__)


@dataclass
class Progress:
    """What the loader has done since it started; read by others, written by the loader only."""

    batches: int = 0
    records: int = 0
    bytes: int = 0
    inserts: Histogram = field(default_factory=lambda: Histogram(SECONDS))  # how long they took, in seconds
    failed_inserts: int = 0
    unloadable_lines: int = 0
    caught_up_at: float = field(default_factory=time.time)
    failing_since: float | None = None
    last_error: str = ""


class Loader:
    """Moves lines; one thread calls `run`, or `step` until there is nothing left."""

    def __init__(
        self,
        log: LogReader,
        store: Store,
        settings: LoaderSettings,
        *,
        tracing: Tracing | None = None,
    ) -> None:
        self._log = log
        self._tracing = tracing
        self._store = store
        self._settings = settings
        self.progress = Progress()
        self._turn = threading.Lock()
        self._inserting = threading.Lock()
        self._tidied_at = float("-inf")

    @contextmanager
    def pause(self) -> Iterator[None]:
        """No insert is under way inside it, so that all tables tell of the same lines. It waits for one insert at most,
        for the next one must take its turn behind it."""
        with self._turn, self._inserting:
            yield

    def _put(self, lines: bytes) -> None:
        with self._turn:
            self._inserting.acquire()
        started = time.perf_counter()
        try:
            with self._tracing.insert(lines) if self._tracing and lines is not CANARY else nullcontext():
                self._store.insert(lines)
        except StoreError:
            self.progress.failed_inserts += 1
            raise
        finally:
            self._inserting.release()
        if lines is not CANARY:
            self.progress.inserts.observe(time.perf_counter() - started)

    def run(self, stop: threading.Event) -> None:
        """Loads until `stop` is set, then for a bounded time what is still in the log."""
        poll_s = POLL_S_MIN
        while not stop.is_set():
            started = time.monotonic()
            if loaded := self._step_or_note(stop):
                poll_s = POLL_S_MIN
                stop.wait(self._rest_s(loaded, time.monotonic() - started))
            else:
                stop.wait(poll_s)
                poll_s = min(poll_s * 2, POLL_S_MAX)
        deadline = time.monotonic() + DRAIN_S_MAX
        while time.monotonic() < deadline and self._step_or_note(stop):
            pass

    def _rest_s(self, loaded: int, took_s: float) -> float:
        """How long to let lines gather after an insert: not at all while there is a backlog."""
        if loaded >= self._settings.batch_bytes_max:
            return 0.0
        interval_s = self._settings.interval_ms_min / 1000
        return max(interval_s, min(took_s * REST, GATHER_S_MAX)) - took_s

    def _step_or_note(self, stop: threading.Event) -> int:
        """`step`, but whatever goes wrong with the log, or was not thought of, ends one attempt and not the loading."""
        try:
            self._tidy_now_and_then()
            return self.step(stop)
        except Exception as error:
            logger.exception("loader: an attempt failed; the next one follows")
            self._note_failure(error)
            stop.wait(RETRY_S_MAX)
            return 0

    def step(self, stop: threading.Event | None = None) -> int:
        """Loads one batch and gives its bytes, at least 1; 0 if there was none, or if the store fails and `stop` is
        set."""
        batch = self._log.read(self._settings.batch_bytes_max)
        if batch is None:
            self.progress.failing_since = None  # else it would be said until the next event comes
            if not self._log.unreadable():
                self.progress.caught_up_at = time.time()
            return 0
        if batch.lines and not self._insert_patiently(batch.lines, stop):
            return 0
        self._log.commit(batch)
        self.progress.failing_since = None
        self.progress.batches += 1
        self.progress.records += batch.lines.count(b"\n")
        self.progress.bytes += len(batch.lines)
        return max(1, len(batch.lines))

    def _tidy_now_and_then(self) -> None:
        if time.monotonic() - self._tidied_at >= TIDY_S:
            self._tidied_at = time.monotonic()
            self._log.tidy()

    def _insert_patiently(self, lines: bytes, stop: threading.Event | None) -> bool:
        delay = RETRY_S_MIN
        while True:
            try:
                self._insert(lines)
            except StoreError as error:
                self._note_failure(error)
                if stop is None or stop.wait(delay):
                    return False
                delay = min(delay * 2, RETRY_S_MAX)
            else:
                return True

    def _insert(self, lines: bytes) -> None:
        """Puts the lines in. Raises `StoreError` where the store takes nothing at all."""
        try:
            self._put(lines)
        except StoreError as error:
            parts = lines.splitlines(keepends=True)
            if error.passing and not (error.divisible and len(parts) > 1):
                raise  # on a disk that is nearly full, a rejection may find the room that a sound record did not
            if not error.passing:
                self._put(CANARY)
            if len(parts) > 1:
                middle = len(parts) // 2
                self._insert(b"".join(parts[:middle]))
                self._insert(b"".join(parts[middle:]))
            elif not self._insert_stubbornly(lines):
                self._set_aside(lines, str(error))

    def _insert_stubbornly(self, line: bytes) -> bool:
        """Whether the store takes a line after all: one that fails now and then must not cost a sound record."""
        for _ in range(SINGLE_LINE_TRIES):
            try:
                self._put(line)
            except StoreError as error:
                if error.passing:
                    raise
                self._put(CANARY)
            else:
                return True
        return False

    def _set_aside(self, line: bytes, reason: str) -> None:
        # The engine's reason may quote the record, which is nobody's business who reads this.
        logger.error("loader: the store cannot take one record; `catchment rejections --reason unloadable` tells why")
        self.progress.unloadable_lines += 1
        known: dict[str, Any] = msgspec.json.decode(line)
        rejection = RejectionRecord(
            app=known.get("app", ""),
            source=known.get("source", ""),
            kind="rejection",
            event_id=known.get("event_id", ""),
            received_us=known.get("received_us", 0),
            payload=line.decode("utf-8", "backslashreplace"),
            method="",
            route="",
            status=0,
            code="unloadable",
            reason=reason[:1000],
            payload_bytes=len(line),
            edge=known.get("edge", ""),  # of the books, its line counts as received
            tally=known.get("tally", 0),
        )
        self._put(encode_lines([rejection]))

    def _note_failure(self, error: Exception) -> None:
        self.progress.last_error = str(error)
        if self.progress.failing_since is None:
            self.progress.failing_since = time.time()
            logger.error("loader: nothing is loaded; the log keeps everything until it works again: %s", error)
