"""What the Batch contract takes, as strategies (contracts/batch.md 2)."""

from datetime import datetime
from typing import Any

from hypothesis import strategies as st

TIME, PROMO = "2012-08-12T22:30:05", "2021-08-12T22:30:05"

MEMBERS = st.sampled_from(
    ["events", "id", "name", "time", "label", "attributes", "tags", "date(x)", "x", "date(", "Y", "other"]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
    st.sampled_from(["ue.x", "ue.Y_1", TIME, PROMO, "2024-05-31T22:30:05", "v", "x" * 65]),
)


def below(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(children, max_size=4) | st.dictionaries(MEMBERS, children, max_size=6)


ANYTHING = st.recursive(SCALARS, below, max_leaves=12)
VISIBLE = st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])
WORDS = st.text(VISIBLE, min_size=1, max_size=32).filter(lambda text: not text.isspace())
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2199, 12, 31)).map(lambda time: time.isoformat(timespec="seconds"))
INTEGERS = st.integers(-(2**63), 2**63 - 1)
VALUES = st.text(max_size=32) | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | st.booleans()
NAMES = st.from_regex(r"[a-z0-9_]{1,30}", fullmatch=True)
PLAIN = st.dictionaries(NAMES.map("p{:.29}".format), VALUES, max_size=8)
DATES = st.dictionaries(NAMES.map("date(d{:.29})".format), TIMES | st.integers(0, 7258118399), max_size=7)
EVENTS = st.fixed_dictionaries(
    {"name": st.from_regex(r"ue\.[A-Za-z0-9_]{1,64}", fullmatch=True)},
    optional={
        "time": TIMES,
        "label": WORDS,
        "attributes": st.builds(lambda plain, dates: {**plain, **dates}, PLAIN, DATES),
        "tags": st.lists(WORDS, max_size=10),
        "other": ANYTHING,
    },
)
USERS = st.lists(st.tuples(WORDS, st.lists(EVENTS, min_size=1, max_size=3)), min_size=1, max_size=3)
