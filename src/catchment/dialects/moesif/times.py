"""The times that Moesif's clients write (contracts/moesif.md 2.8): ISO 8601 in any of its forms, or epoch milliseconds.

A time without a zone is in UTC and stays without one: it is written, and read by the store, as UTC. Python's own
reader takes every form of the contract at the speed of msgspec's, which takes fewer. Digits behind the microsecond are
dropped.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from catchment.dialects.moesif.faults import invalid

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_YEAR, LAST_YEAR = 1970, 2199
KONG = "kong-plugin-moesif"

Time = str | int | float
Read = Callable[[Time, str], datetime]  # of a time and its path, which is for the refusal

_KONG_MILLISECONDS = re.compile(r"(?P<second>.*T[0-9]{2}:[0-9]{2}:[0-9]{2})\.(?P<milliseconds>[0-9]{1,3})")


def moment(value: Time, path: str) -> datetime:
    """The moment; `.5` is half a second."""
    try:
        time = datetime.fromisoformat(value) if type(value) is str else EPOCH + timedelta(milliseconds=value)  # type: ignore[arg-type]
        if time.tzinfo is not None and time.tzinfo is not UTC:
            time = time.astimezone(UTC)
    except (ValueError, OverflowError):
        if type(value) is str and value.endswith("z"):
            return moment(value[:-1] + "Z", path)
        reason = "not a time: write ISO 8601, like 2026-01-02T03:04:05.678Z, or milliseconds since 1970 as a number"
        raise invalid(reason, path) from None
    if not FIRST_YEAR <= time.year <= LAST_YEAR:
        raise invalid(f"the year is not within {FIRST_YEAR} and {LAST_YEAR}", path)
    return time


def moment_of_kong(value: Time, path: str) -> datetime:
    """The moment, from the one client that writes milliseconds without leading zeros: `.5` is 5 ms."""
    found = _KONG_MILLISECONDS.fullmatch(value) if isinstance(value, str) else None
    return moment(f"{found['second']}.{found['milliseconds']:>03}" if found else value, path)


def reading_of(user_agent: str | None) -> Read:
    """How the times of this client are read."""
    return moment_of_kong if user_agent and user_agent.startswith(KONG) else moment


def in_utc(time: datetime) -> datetime:
    """The same moment with its zone written out."""
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def text_of(time: datetime) -> str:
    """The moment as a profile keeps it: ISO 8601 in UTC with its Z, to the millisecond or, if need be, finer."""
    digits = "microseconds" if time.microsecond % 1000 else "milliseconds"
    return time.replace(tzinfo=None).isoformat(timespec=digits) + "Z"
