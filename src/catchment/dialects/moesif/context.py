"""What the elements of one call share, looked up once: whose they are, when they came, which rules they are under."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec import Struct

from catchment.dialects.dialect import Arrival, Call, user_agent_of
from catchment.dialects.moesif.credentials import Credentials
from catchment.dialects.moesif.faults import TOO_OLD
from catchment.dialects.moesif.governance import Governance
from catchment.dialects.moesif.times import Read, reading_of
from catchment.errors import Refused
from catchment.settings import MoesifApp

SOURCE = "moesif"
SDK_HEADER = "x-moesif-sdk"  # the browser's alone


class Grant(NamedTuple):
    """What an application id grants."""

    app: str
    rules: MoesifApp
    resources: frozenset[str]
    age_max: timedelta
    credentials: Credentials
    governance: Governance


class Context(Struct, frozen=True):
    """Of one call; a struct, for its members are read some ten times an event. The oldest times are those that an
    event may have without being late, one to compare with times that have no zone."""

    app: str
    peer: str
    user_agent: str | None
    from_browser: bool
    credentials: Credentials
    moment: Read
    new_id: Callable[[], str]
    received_at: datetime
    received_us: int
    oldest: datetime
    oldest_naive: datetime
    reject_late: bool
    age_days_max: float
    event_bytes_max: int
    maybe_large: bool  # whether an element may be over that

    def late(self, time: datetime) -> bool:
        """Whether an event of this time is too old; refuses it if the application says so."""
        late = time < (self.oldest_naive if time.tzinfo is None else self.oldest)
        if late and self.reject_late:
            raise Refused(TOO_OLD, f"events may be at most {self.age_days_max:g} days old", path="$.request.time")
        return late


def context_of(call: Call, grant: Grant, body: bytes, arrival: Arrival, *, event_bytes_max: int) -> Context:
    """The context of a call with this body."""
    user_agent = user_agent_of(call)
    oldest = arrival.received_at - grant.age_max
    return Context(
        app=grant.app,
        peer=call.peer,
        user_agent=user_agent,
        from_browser=bool(call.headers.get(SDK_HEADER) or call.headers.get("origin")),
        credentials=grant.credentials,
        moment=reading_of(user_agent),
        new_id=arrival.new_id,
        received_at=arrival.received_at,
        received_us=arrival.received_us,
        oldest=oldest,
        oldest_naive=oldest.replace(tzinfo=None),
        reject_late=grant.rules.time_window == "reject",
        age_days_max=grant.rules.time_window_days,
        event_bytes_max=event_bytes_max,
        maybe_large=len(body) > event_bytes_max,
    )
