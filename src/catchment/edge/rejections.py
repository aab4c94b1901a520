"""Refused is not lost: what is kept of a refusal, and how much of it, so that nobody can fill the disk with faults."""

from collections.abc import Callable

from catchment.books import MINUTE_US
from catchment.dialects.dialect import Arrival, Call, Caller, Dialect, user_agent_of
from catchment.edge.allowance import Allowance
from catchment.errors import Refused
from catchment.record import RejectionRecord
from catchment.settings import Limits

_REASON_CHARS_MAX = 1000
_ROUTE_CHARS_MAX = 256
METHOD_CHARS_MAX = 20

_Overflow = tuple[str, str, int, str, int]  # application, source, status, code, minute since 1970


class Rejections:
    """Makes the record of a refusal. Without a valid key nothing of the body is kept."""

    def __init__(self, limits: Limits) -> None:
        self._bytes_max = limits.rejection_bytes_max
        self.known = Allowance(limits.rejections_per_minute_max, "refusals of calls with a key were not stored")
        self.unknown = Allowance(
            limits.unauthenticated_per_minute_max, "refusals of calls without a valid key were not stored"
        )
        self._over: dict[_Overflow, tuple[int, int]] = {}  # how many, and the arrival number of the last

    def adopt(self, limits: Limits) -> None:
        """Takes these bounds from now on; what the running minute has used of the old ones counts."""
        self._bytes_max = limits.rejection_bytes_max
        self.known.per_minute_max = limits.rejections_per_minute_max
        self.unknown.per_minute_max = limits.unauthenticated_per_minute_max

    def record(
        self, dialect: Dialect, call: Call, caller: Caller | None, refused: Refused, body: bytes, arrival: Arrival
    ) -> RejectionRecord | None:
        """The record to append, or None where the minute's allowance is used up: then it is counted (`overflow`)."""
        app = caller.app if caller else ""
        if not (self.known if caller else self.unknown).take():
            minute = arrival.received_us // MINUTE_US
            over = (app, dialect.source, refused.fault.status, str(refused.fault.code), minute)
            self._over[over] = (self._over.get(over, (0, 0))[0] + 1, arrival.received_us)
            return None
        kept = dialect.conceal(body[: self._bytes_max])[: self._bytes_max] if caller else b""
        return RejectionRecord(
            app=app,
            source=dialect.source,
            kind="rejection",
            event_id=arrival.new_id(),
            received_us=arrival.received_us,
            payload=kept.decode("utf-8", "backslashreplace"),
            ip=call.peer,
            user_agent=user_agent_of(call),
            method=call.method[:METHOD_CHARS_MAX],
            route=dialect.conceal_path(call.path)[:_ROUTE_CHARS_MAX],
            status=refused.fault.status,
            code=str(refused.fault.code),
            reason=refused.reason[:_REASON_CHARS_MAX],
            path=refused.path,
            payload_bytes=len(body),
        )

    def overflow(self, until_us: int, new_id: Callable[[], str]) -> list[RejectionRecord]:
        """For the minutes that end before this arrival number, one record for all that were only counted of an
        application, source and code; they are forgotten."""
        minute_now = until_us // MINUTE_US
        return [self._counted(over, new_id()) for over in list(self._over) if over[-1] < minute_now]

    def _counted(self, over: _Overflow, rejection_id: str) -> RejectionRecord:
        app, source, status, code, _ = over
        count, received_us = self._over.pop(over)
        return RejectionRecord(
            app=app,
            source=source,
            kind="rejection",
            event_id=rejection_id,
            received_us=received_us,
            payload="",
            method="",
            route="",
            status=status,
            code=code,
            reason=f"{count} more calls in this minute, of which nothing is kept: too many a minute",
            count=count,
        )
