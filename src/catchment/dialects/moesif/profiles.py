"""Users, companies, subscriptions: from their typed form to the leaves of a profile (contracts/moesif.md 2.4 to 2.7).

Leaves have the vendor's snake_case names however they were spelled, and their times in one form. What the server knows
better than nobody is filled in. A session token is another name of a user or a company, and never a leaf.
"""

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from catchment.dialects.moesif.context import SOURCE, Context
from catchment.dialects.moesif.credentials import TOKEN_MEMBERS, names_secret
from catchment.dialects.moesif.faults import document_of, invalid, missing
from catchment.dialects.moesif.shapes import Company, Subscription, User
from catchment.dialects.moesif.spelling import Names, canonical, names, pairs_of, sent_name, settle
from catchment.dialects.moesif.times import text_of
from catchment.record import ProfileRecord, TooManyLeaves, profile_leaves

_CAMPAIGN = names("utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content", "referring_domain")
_ITEM = names("plan_id", "subscription_item_id", "price_id", "unit_of_measure", "created_at")
_NAMES: dict[type[Struct], Names] = {
    User: Names({other: name for name, other in pairs_of(User)}, {"campaign": _CAMPAIGN}),
    Company: Names({other: name for name, other in pairs_of(Company)}, {"campaign": _CAMPAIGN}),
    Subscription: Names({other: name for name, other in pairs_of(Subscription)}, {"items": _ITEM}),
}
_PERIOD = ("current_period_start", "current_period_end")


def user_record(user: User, raw: Any, context: Context, index: int) -> ProfileRecord:
    """A user needs an id; the browser has an anonymous one until it knows better (contract 6.13)."""
    settle(user)
    if not (user.user_id or user.anonymous_id):
        raise missing("user_id")
    times = _times(user, ("modified_time",), context)
    agent = {"user_agent_string": context.user_agent} if context.from_browser and context.user_agent else {}
    payload, leaves = _stored(user, raw, context, times, {"ip_address": context.peer} | agent)
    return ProfileRecord(
        app=context.app,
        source=SOURCE,
        kind="user",
        event_id=context.new_id(),
        received_us=context.received_us + index,
        payload=payload,
        ip=user.ip_address or context.peer,
        user_agent=user.user_agent_string or context.user_agent,
        user_id=user.user_id,
        anonymous_id=user.anonymous_id,
        company_id=user.company_id,
        session_token=context.credentials.token(user.session_token),
        leaves=leaves,
    )


def company_record(company: Company, raw: Any, context: Context, index: int) -> ProfileRecord:
    """A company needs its id."""
    settle(company)
    if not company.company_id:
        raise missing("company_id")
    times = _times(company, ("modified_time",), context)
    payload, leaves = _stored(company, raw, context, times, {"ip_address": context.peer})
    return ProfileRecord(
        app=context.app,
        source=SOURCE,
        kind="company",
        event_id=context.new_id(),
        received_us=context.received_us + index,
        payload=payload,
        ip=company.ip_address or context.peer,
        user_agent=context.user_agent,
        company_id=company.company_id,
        session_token=context.credentials.token(company.session_token),
        leaves=leaves,
    )


def subscription_record(subscription: Subscription, raw: Any, context: Context, index: int) -> ProfileRecord:
    """A subscription needs its id, its company's, and the plan of each of its items."""
    settle(subscription)
    for name in ("subscription_id", "company_id"):
        if not getattr(subscription, name):
            raise missing(name)
    for position, item in enumerate(subscription.items or ()):
        if not (item.plan_id or item.planId):
            raise missing("plan_id", f"$.items[{position}]")
    payload, leaves = _stored(subscription, raw, context, _times(subscription, _PERIOD, context), {})
    return ProfileRecord(
        app=context.app,
        source=SOURCE,
        kind="subscription",
        event_id=context.new_id(),
        received_us=context.received_us + index,
        payload=payload,
        ip=context.peer,
        user_agent=context.user_agent,
        company_id=subscription.company_id,
        subscription_id=subscription.subscription_id,
        leaves=leaves,
    )


def _times(element: Struct, members: Iterable[str], context: Context) -> dict[str, str]:
    """The element's times in the one form that the store reads."""
    given = {name: getattr(element, name) for name in members}
    return {
        name: text_of(context.moment(value, f"$.{sent_name(element, name)}"))
        for name, value in given.items()
        if value is not None
    }


def _stored(
    element: Struct, raw: Any, context: Context, times: dict[str, str], filled: dict[str, str]
) -> tuple[Any, list[tuple[str, str]]]:
    """The payload and the leaves; `filled` stands where nothing was given."""
    document, payload = document_of(raw), raw
    if names_secret(raw) or any(document.get(name) for name in TOKEN_MEMBERS):
        payload = context.credentials.payload(raw)
        document = document_of(payload)
    document = canonical(document, _NAMES[type(element)]) | times
    for name in TOKEN_MEMBERS:
        document.pop(name, None)
    for name, value in ({"modified_time": text_of(context.received_at)} | filled).items():
        if not document.get(name):
            document[name] = value
    try:
        return payload, profile_leaves(document)
    except TooManyLeaves as error:
        raise invalid(str(error), "$") from None
