"""The elements of Moesif's bodies as msgspec decodes them, and how their values are read (contracts/moesif.md 2).

Members that have no column are not listed; a record keeps them in its payload.
"""

from datetime import UTC, datetime
from typing import Any

from msgspec import Raw, Struct

from catchment.record import EMPTY_OBJECT

NULL = b"null"
Time = datetime | int | float


class ActionRequest(Struct, gc=False):
    """`request` of an action (contracts/moesif.md 2.3); real clients leave out everything."""

    time: Time | None = None
    uri: str | None = None
    verb: str | None = None
    ip_address: str | None = None
    user_agent_string: str | None = None


class Action(Struct, gc=False):
    """Contract 2.3."""

    action_name: str
    request: ActionRequest
    transaction_id: str | None = None
    session_token: str | None = None
    user_id: str | None = None
    anonymous_id: str | None = None
    company_id: str | None = None
    subscription_id: str | None = None
    weight: int | None = None
    metadata: Raw = EMPTY_OBJECT


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


class ApiCall(Struct, gc=False):
    """`Event` in the vendor's words (contract 2.1)."""

    request: ApiRequest
    response: ApiResponse | None = None
    transaction_id: str | None = None
    session_token: str | None = None
    user_id: str | None = None
    anonymous_id: str | None = None
    company_id: str | None = None
    subscription_id: str | None = None
    direction: str | None = None
    weight: int | None = None
    blocked_by: str | None = None
    tags: str | None = None
    action_name: str | None = None
    metadata: Raw = EMPTY_OBJECT


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
