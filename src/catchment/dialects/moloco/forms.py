"""What a user event is made of (contracts/moloco.md 2): the members of each message, and the names of each enum."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from catchment.dialects.moloco.faults import BAD_TIME, invalid
from catchment.dialects.moloco.protobuf import INT32, Read, array, enum, integer_of, message, number_of, numeric

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)

# The first name of an enum is its default, "not given"; a name's number is its place in the list (contract 2.4).
EVENT_TYPES = "UNKNOWN_EVENT_TYPE SEARCH ITEM_PAGE_VIEW ADD_TO_CART PURCHASE ADD_TO_WISHLIST HOME LAND PAGE_VIEW"
CHANNEL_TYPES = "UNKNOWN_CHANNEL_TYPE APP SITE DESKTOP_SITE MOBILE_SITE"
PERSONALIZATION_MODES = "UNKNOWN_PERSONALIZATION_MODE STANDARD METRIC_ONLY ID_LESS"
CURRENCIES = (
    "UNKNOWN_CURRENCY USD KRW JPY EUR GBP SEK INR THB IDR CNY CAD RUB BRL SGD HKD AUD PLN DKK VND MYR PHP TRY "
    "VES AED CHF"
)


def milliseconds(value: Any, name: str) -> int:
    """A number or decimal text; every misfit has the one documented text (contract 6.27)."""
    number = integer_of(value)
    if number is None:
        raise invalid(BAD_TIME, name)
    return number


def _milliseconds_or_rfc_3339(value: Any, name: str) -> int:
    """The same, or the time as RFC 3339 writes it, cut to milliseconds (contract 6.49)."""
    if type(value) is not str or not _RFC_3339.fullmatch(value):
        return milliseconds(value, name)
    try:
        return (datetime.fromisoformat(value.upper()) - EPOCH) // _MILLISECOND
    except ValueError:
        raise invalid(BAD_TIME, name) from None


# Strings first: they need no more than their names.
_MONEY = message(currency=enum(CURRENCIES, unnumbered="VEF"), amount=numeric("double", number_of))
_ITEM = message(
    "id item_group_id seller_id", price=_MONEY, quantity=numeric("int32", integer_of, INT32), price_seller=_MONEY
)


def _event(timestamp: Read) -> Read:
    return message(
        "id domain user_id search_query session_id custom_id page_id referrer_page_id decision_track_id",
        event_type=enum(EVENT_TYPES),
        timestamp=timestamp,
        channel_type=enum(CHANNEL_TYPES),
        device=message("os os_version advertising_id unique_device_id persistent_id model ua language ip"),
        items=array(_ITEM),
        revenue=_MONEY,
        shipping_charge=_MONEY,
        personalization_mode=enum(PERSONALIZATION_MODES),
    )


USER_EVENT = _event(milliseconds)
SEGMENT_EVENT = _event(_milliseconds_or_rfc_3339)  # what comes through the second door
