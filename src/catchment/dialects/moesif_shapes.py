"""The elements of Moesif's bodies as msgspec decodes them, how their values are read, and the faults they may have
(contracts/moesif.md 2 and 5).

Members that have no column are not listed; a record keeps them in its payload.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Raw, Struct

from catchment.dialects.dialect import Faults
from catchment.errors import Fault, Refused
from catchment.record import EMPTY_OBJECT

NULL = b"null"
ID_CHARS_MAX = 256
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_YEAR, LAST_YEAR = 1970, 2199
Time = datetime | int | float

MALFORMED = Fault(400, "malformed_json", "Bad Request")
INVALID = Fault(400, "invalid_field", "Bad Request")
MISSING = Fault(400, "missing_field", "Bad Request")
TOO_OLD = Fault(400, "event_too_old", "Bad Request")
UNAUTHORIZED = Fault(401, "unauthorized", "Unauthorized")
FAULTS = Faults(
    not_found=Fault(404, "not_found", "Not Found"),
    wrong_method=Fault(405, "method_not_allowed", "Method Not Allowed"),
    too_large=Fault(413, "payload_too_large", "Payload Too Large"),
    malformed=MALFORMED,
    unavailable=Fault(503, "unavailable", "Service Unavailable"),
    defect=Fault(500, "internal_error", "Internal Server Error"),
)


class _Attributed(Struct, gc=False, kw_only=True):
    """What actions and API calls share: whose they are, and what else was said of them."""

    transaction_id: str | None = None
    session_token: str | None = None
    user_id: str | None = None
    anonymous_id: str | None = None
    company_id: str | None = None
    subscription_id: str | None = None
    weight: int | None = None
    metadata: Raw = EMPTY_OBJECT


class ActionRequest(Struct, gc=False):
    """`request` of an action (contracts/moesif.md 2.3); real clients leave out everything."""

    time: Time | None = None
    uri: str | None = None
    verb: str | None = None
    ip_address: str | None = None
    user_agent_string: str | None = None


class Action(_Attributed, gc=False, kw_only=True):
    """Contract 2.3."""

    action_name: str
    request: ActionRequest


class ApiRequest(Struct, gc=False):
    """Contract 2.2; header values may be strings, arrays, numbers or null."""

    time: Time
    uri: str
    verb: str
    headers: dict[str, Any] | None = None
    api_version: str | None = None
    ip_address: str | None = None
    body: Raw = Raw(NULL)
    transfer_encoding: str | None = None


class ApiResponse(Struct, gc=False):
    """Contract 2.2; some clients send all members null, or status 0, for a missing response."""

    time: Time | None = None
    status: int | None = None
    headers: dict[str, Any] | None = None
    body: Raw = Raw(NULL)
    transfer_encoding: str | None = None


class ApiCall(_Attributed, gc=False, kw_only=True):
    """`Event` in the vendor's words (contract 2.1)."""

    request: ApiRequest
    response: ApiResponse | None = None
    direction: str | None = None
    blocked_by: str | None = None
    tags: str | None = None
    action_name: str | None = None


class User(Struct, gc=False):
    """Contract 2.4; the browser sends users that have only an `anonymous_id`."""

    user_id: str | None = None
    anonymous_id: str | None = None
    company_id: str | None = None
    session_token: str | None = None
    modified_time: Time | None = None
    ip_address: str | None = None
    user_agent_string: str | None = None
    campaign: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


def in_utc(time: datetime) -> datetime:
    """The same moment with its zone written out."""
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def path_of(uri: str) -> str:
    """The path of a full URI or of a bare path, without query and fragment; `/` where there is none."""
    scheme = uri.find("://")
    if 0 <= scheme < 16:
        slash = uri.find("/", scheme + 3)
        uri = uri[slash:] if slash >= 0 else "/"
    return uri.partition("?")[0].partition("#")[0] or "/"


def given(raw: Raw) -> Raw | None:
    """The value, or None where it is null or was left out."""
    return None if bytes(raw) == NULL else raw


def moment(value: Time, path: str) -> datetime:
    """The time a client gave (contract 2.8): ISO 8601, no zone meaning UTC, or epoch milliseconds.

    A datetime without zone stays without: it is written, and read by the store, as UTC.
    """
    if not isinstance(value, datetime):
        try:
            value = EPOCH + timedelta(milliseconds=value)
        except (ValueError, OverflowError):
            raise Refused(INVALID, "not a time in epoch milliseconds", path=path) from None
    if not FIRST_YEAR <= value.year <= LAST_YEAR:
        raise Refused(INVALID, f"the year is not within {FIRST_YEAR} and {LAST_YEAR}", path=path)
    return value


def valid_id(transaction_id: str) -> str:
    """An id that a row can be sorted by."""
    if len(transaction_id) > ID_CHARS_MAX:
        raise Refused(INVALID, f"transaction_id is longer than {ID_CHARS_MAX} characters", path="$.transaction_id")
    return transaction_id


def valid_weight(weight: int) -> int:
    """Absent, null and 0 count as 1 (contract 6.18), which the caller sees to."""
    if not 0 < weight < 2**32:
        raise Refused(INVALID, "weight is not a positive 32-bit integer", path="$.weight")
    return weight


def object_or_empty(raw: Raw) -> Raw:
    """Free-form metadata must be an object, or null for "not given"."""
    text = bytes(raw)
    if text[:1] == b"{":
        return raw
    if text == NULL:
        return EMPTY_OBJECT
    raise Refused(INVALID, "Expected `object`", path="$.metadata")
