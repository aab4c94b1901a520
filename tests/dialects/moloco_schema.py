"""What the Moloco contract takes, as strategies (contracts/moloco.md 2)."""

from hypothesis import strategies as st

from tests.dialects.moloco_calls import CHANNEL_TYPES, CURRENCIES, EVENT_TYPES, MODES, RECEIVED_AT

IDS = st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=128)
TEXTS = st.text(alphabet=st.characters(codec="utf-8"), max_size=40)
AMOUNTS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**18), 10**18)
MONEYS = st.fixed_dictionaries({"currency": st.sampled_from(CURRENCIES)}, optional={"amount": AMOUNTS})
ITEMS = st.fixed_dictionaries(
    {"id": IDS},
    optional={
        "item_group_id": TEXTS,
        "price": MONEYS,
        "quantity": st.integers(-(2**31), 2**31 - 1) | st.integers(0, 99).map(str),
        "seller_id": TEXTS,
        "price_seller": MONEYS,
        "brand": st.none() | st.booleans() | AMOUNTS | TEXTS,
    },
)
TIMES: st.SearchStrategy[int] = st.integers(1, int(RECEIVED_AT.timestamp() * 1000))
EVENTS = st.fixed_dictionaries(
    {
        "event_type": st.sampled_from(EVENT_TYPES),
        "timestamp": TIMES | TIMES.map(str),
        "channel_type": st.sampled_from(CHANNEL_TYPES),
        "user_id": IDS,
        "device": st.fixed_dictionaries(
            {"os": st.sampled_from(["iOS 17", "android"])},
            optional={"model": TEXTS, "persistent_id": IDS, "unique_device_id": IDS, "ip": TEXTS, "language": TEXTS},
        ),
        "items": st.lists(ITEMS, min_size=1, max_size=3),
        "search_query": IDS,
        "page_id": IDS,
    },
    optional={
        "id": IDS,
        "revenue": MONEYS,
        "shipping_charge": MONEYS,
        "domain": TEXTS,
        "custom_id": IDS,
        "session_id": IDS,
        "decision_track_id": TEXTS,
        "personalization_mode": st.sampled_from(MODES),
        "referrer_page_id": TEXTS,
        "extra": TEXTS,
    },
)
