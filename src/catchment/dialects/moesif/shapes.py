"""The elements of Moesif's bodies as msgspec decodes them (contracts/moesif.md 2).

Members that have no column are not listed; a record keeps them in its payload. A field in camelCase is the second
name of the one before it (see `spelling`); so a member that must be there may be absent here, and is looked for later.
`UNSET` tells one that was left out from a null, behind which a second member of that name may hide.
"""

from typing import Any

from msgspec import UNSET, Raw, Struct, UnsetType

from catchment.dialects.moesif.times import Time
from catchment.record import EMPTY_OBJECT

NULL = b"null"


class _Attributed(Struct, gc=False, kw_only=True):
    """What actions and API calls share: whose they are, and what else was said of them."""

    transaction_id: str | None = None
    transactionId: str | None = None
    session_token: str | UnsetType | None = UNSET
    sessionToken: str | UnsetType | None = UNSET
    user_id: str | None = None
    userId: str | None = None
    anonymous_id: str | None = None
    anonymousId: str | None = None
    company_id: str | None = None
    companyId: str | None = None
    subscription_id: str | None = None
    subscriptionId: str | None = None
    weight: int | float | None = None
    metadata: Raw = EMPTY_OBJECT


class ActionRequest(Struct, gc=False):
    """`request` of an action (contract 2.3); real clients leave out everything."""

    time: Time | None = None
    uri: str | None = None
    verb: str | None = None
    ip_address: str | None = None
    ipAddress: str | None = None
    user_agent_string: str | None = None
    userAgentString: str | None = None
    headers: Raw | UnsetType = UNSET


class Action(_Attributed, gc=False, kw_only=True):
    """Contract 2.3; it should have neither headers nor a response, but they may be credentials."""

    action_name: str | UnsetType | None = UNSET
    actionName: str | None = None
    request: ActionRequest | UnsetType = UNSET
    response: Raw | UnsetType = UNSET


class ApiRequest(Struct, gc=False):
    """Contract 2.2; header values may be strings, arrays, numbers or null."""

    time: Time
    uri: str
    verb: str
    headers: dict[str, Any] | None = None
    api_version: str | None = None
    apiVersion: str | None = None
    ip_address: str | None = None
    ipAddress: str | None = None
    body: Raw = Raw(NULL)
    transfer_encoding: str | None = None
    transferEncoding: str | None = None


class ApiResponse(Struct, gc=False):
    """Contract 2.2; some clients send all members null, or status 0, for a missing response."""

    time: Time | None = None
    status: int | None = None
    headers: dict[str, Any] | None = None
    body: Raw = Raw(NULL)
    transfer_encoding: str | None = None
    transferEncoding: str | None = None


class ApiCall(_Attributed, gc=False, kw_only=True):
    """`Event` in the vendor's words (contract 2.1)."""

    request: ApiRequest
    response: ApiResponse | None = None
    direction: str | None = None
    blocked_by: str | None = None
    blockedBy: str | None = None
    tags: str | None = None
    action_name: str | None = None
    actionName: str | None = None


class User(Struct, gc=False):
    """Contract 2.4; the browser sends users that have only an `anonymous_id`."""

    user_id: str | None = None
    userId: str | None = None
    anonymous_id: str | None = None
    anonymousId: str | None = None
    company_id: str | None = None
    companyId: str | None = None
    session_token: str | None = None
    sessionToken: str | None = None
    modified_time: Time | None = None
    modifiedTime: Time | None = None
    ip_address: str | None = None
    ipAddress: str | None = None
    user_agent_string: str | None = None
    userAgentString: str | None = None
    campaign: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


class Company(Struct, gc=False):
    """Contract 2.5."""

    company_id: str | None = None
    companyId: str | None = None
    company_domain: str | None = None
    companyDomain: str | None = None
    session_token: str | None = None
    sessionToken: str | None = None
    modified_time: Time | None = None
    modifiedTime: Time | None = None
    ip_address: str | None = None
    ipAddress: str | None = None
    campaign: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


class SubscriptionItem(Struct, gc=False):
    """`items` of a subscription (contract 2.6)."""

    plan_id: str | None = None
    planId: str | None = None


class Subscription(Struct, gc=False):
    """Contract 2.6; any `status` is taken, for the vendor has added to its list before."""

    subscription_id: str | None = None
    subscriptionId: str | None = None
    company_id: str | None = None
    companyId: str | None = None
    status: str | None = None
    current_period_start: Time | None = None
    currentPeriodStart: Time | None = None
    current_period_end: Time | None = None
    currentPeriodEnd: Time | None = None
    items: list[SubscriptionItem] | None = None
    metadata: dict[str, Any] | None = None
