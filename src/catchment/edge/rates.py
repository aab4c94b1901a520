"""How many requests an application may send: a token bucket for each application and source that has a limit.

All edge processes share a bucket, and it is exact: what it holds is one number in a file of its own, read and written
under the file's lock. The number is the moment, by the machine's monotonic clock, at which the bucket will be full
again; each request that is taken moves it on by the time in which one token comes back (the generic cell rate
algorithm). So nothing has to be refilled, and a process that is killed leaves a true number and no lock.

- Of another boot, or of another limit, the number may lie further ahead than the bucket is deep. Then the bucket is
  taken as empty: it is full again after the time that it says itself.
- A lock that is not to be had within `LOCK_MS_MAX` is held by a process that was stopped in the middle. The bucket is
  then used without: the edge does not wait for it, and of requests at the same instant one may count for several.
- A file that cannot be read or written limits nothing: a limit is no reason to lose an event.

The files are no part of the log, and are never synced: after a power cut the buckets may be fuller than they were.
"""

import contextlib
import fcntl
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from catchment.edge.allowance import Allowance
from catchment.settings import App, RateLimit

LOCK_MS_MAX = 50.0
_LOCK_PAUSE_S = 0.0001  # whoever holds the lock needs the processor for some microseconds, once it gets it
_SECOND_NS = 1_000_000_000
_NUMBER_BYTES = 8

logger = logging.getLogger(__name__)


class Taken(NamedTuple):
    """Whether the request may pass; how many more may now; in how many seconds the next may, 0 if at once, and in how
    many the bucket is full."""

    allowed: bool
    remaining: int
    wait_s: int
    full_in_s: int


class Bucket:
    """One application's and source's bucket, in `file`; `clock` gives nanoseconds."""

    def __init__(self, file: Path, limit: RateLimit, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._token_ns = max(1, round(_SECOND_NS / limit.requests_per_second))
        burst = limit.burst_requests or max(1, math.ceil(limit.requests_per_second))
        self._depth_ns = burst * self._token_ns
        self.policy = f'"default";q={burst};w={math.ceil(self._depth_ns / _SECOND_NS)}'
        self._handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self) -> Taken:
        """Takes a token, if there is one. Raises `OSError`."""
        with self._locked():
            now = self._clock()
            found = int.from_bytes(os.pread(self._handle, _NUMBER_BYTES, 0), "little")
            empty_at = now + self._depth_ns
            full_at = min(max(found, now), empty_at)
            allowed = empty_at - full_at >= self._token_ns
            if allowed:
                full_at += self._token_ns
            if full_at != found:
                os.pwrite(self._handle, full_at.to_bytes(_NUMBER_BYTES, "little"), 0)
        room_ns = empty_at - full_at
        wait_s = 0 if room_ns >= self._token_ns else _seconds(self._token_ns - room_ns)
        return Taken(allowed, room_ns // self._token_ns, wait_s, _seconds(full_at - now))

    def close(self) -> None:
        """Lets go of the file; the number stays in it."""
        os.close(self._handle)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        deadline = 0.0
        while True:
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                now = time.monotonic()
                deadline = deadline or now + LOCK_MS_MAX / 1000
                if now > deadline:
                    yield
                    return
                time.sleep(_LOCK_PAUSE_S)
        try:
            yield
        finally:
            fcntl.flock(self._handle, fcntl.LOCK_UN)


class Rates:
    """The buckets of one edge process, in files of `folder`; `buckets` is empty where no limit is set."""

    def __init__(self, folder: Path, apps: Mapping[str, App]) -> None:
        self._folder = folder
        self._failures = Allowance(1, "failures of rate limits were not told")
        self._limits: dict[tuple[str, str], RateLimit] = {}
        self.buckets: dict[tuple[str, str], Bucket] = {}
        self.adopt(apps)

    def adopt(self, apps: Mapping[str, App]) -> None:
        """Takes the limits of these settings; what the buckets hold stays."""
        limits = {
            (name, source): rules.rate_limit
            for name, app in apps.items()
            for source, rules in (("moesif", app.moesif), ("batch", app.batch), ("moloco", app.moloco))
            if rules and rules.rate_limit and rules.rate_limit.requests_per_second
        }
        for key in [key for key in self.buckets if limits.get(key) != self._limits.get(key)]:
            self.buckets.pop(key).close()
        self._limits = limits
        for key, limit in limits.items():
            if key not in self.buckets:
                try:
                    self._folder.mkdir(exist_ok=True, mode=0o700)
                    self.buckets[key] = Bucket(self._folder / ".".join(key), limit)
                except OSError as error:
                    self._tell(error)

    def take(self, app: str, source: str) -> tuple[Taken, list[tuple[str, str]]] | None:
        """Counts a request, and the header fields that tell of it (draft-ietf-httpapi-ratelimit-headers-10); None
        where there is no limit."""
        bucket = self.buckets.get((app, source))
        if bucket is None:
            return None
        try:
            taken = bucket.take()
        except OSError as error:
            self._tell(error)
            return None
        left = f'"default";r={taken.remaining};t={taken.full_in_s}'
        return taken, [("ratelimit-policy", bucket.policy), ("ratelimit", left)]

    def _tell(self, error: OSError) -> None:
        if self._failures.take():
            logger.error("edge: a rate limit does not limit: %s", error)


def _seconds(nanoseconds: int) -> int:
    return -(-nanoseconds // _SECOND_NS)
