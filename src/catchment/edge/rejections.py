"""Refused is not lost: what is kept of a refusal, and how much of it, so that nobody can fill the disk with faults."""

import logging
import time
from collections.abc import Callable

from catchment.dialects.dialect import Arrival, Call, Caller, Dialect, user_agent_of
from catchment.errors import Refused
from catchment.record import RejectionRecord
from catchment.settings import Limits

_MINUTE_S = 60.0
_REASON_CHARS_MAX = 1000
_ROUTE_CHARS_MAX = 256

logger = logging.getLogger(__name__)


class Allowance:
    """At most so many a minute; the rest is only counted, and told once the minute is over."""

    def __init__(self, per_minute_max: int, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute_max = per_minute_max
        self._what = what
        self._clock = clock
        self._minute_ends = 0.0
        self._left = 0
        self.overflow = 0

    def take(self) -> bool:
        """Whether one more is allowed now."""
        now = self._clock()
        if now >= self._minute_ends:
            if self.overflow:
                logger.warning("edge: %d refusals %s were not stored: too many a minute", self.overflow, self._what)
                self.overflow = 0
            self._minute_ends = now + _MINUTE_S
            self._left = self._per_minute_max
        if self._left <= 0:
            self.overflow += 1
            return False
        self._left -= 1
        return True


class Rejections:
    """Makes the record of a refusal. Without a valid key nothing of the body is kept."""

    def __init__(self, limits: Limits) -> None:
        self._bytes_max = limits.rejection_bytes_max
        self.known = Allowance(limits.rejections_per_minute_max, "of calls with a key")
        self.unknown = Allowance(limits.unauthenticated_per_minute_max, "of calls without a valid key")

    def record(
        self, dialect: Dialect, call: Call, caller: Caller | None, refused: Refused, body: bytes, arrival: Arrival
    ) -> RejectionRecord | None:
        """The record to append, or None where the minute's allowance is used up."""
        if not (self.known if caller else self.unknown).take():
            return None
        kept = dialect.conceal(body[: self._bytes_max])[: self._bytes_max] if caller else b""
        return RejectionRecord(
            app=caller.app if caller else "",
            source=dialect.source,
            kind="rejection",
            event_id=arrival.new_id(),
            received_us=arrival.received_us,
            payload=kept.decode("utf-8", "backslashreplace"),
            ip=call.peer,
            user_agent=user_agent_of(call),
            method=call.method,
            route=_without_key(call)[:_ROUTE_CHARS_MAX],
            status=refused.fault.status,
            code=str(refused.fault.code),
            reason=refused.reason[:_REASON_CHARS_MAX],
            path=refused.path,
            payload_bytes=len(body),
        )


def _without_key(call: Call) -> str:
    """The path with its key, where a vendor has it there, left out."""
    key = call.parameters.get("api_key")
    return call.path.replace(key, "{api_key}") if key else call.path
