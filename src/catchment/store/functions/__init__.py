"""Every function of the engine, judged: `allowed` and `aggregates` may be called, `refused` may not.

Refused are those that reach files, other servers, models, dictionaries, the log output or the state of the engine and
its machine, and those of which one call, over one row, takes many seconds. Names are in lower case, and an aggregate
may have combinators behind its name. A function that a later engine brings is in neither list, so it may not be called
until somebody has looked at it (`test_every_function_of_the_engine_was_judged`).
"""

from functools import cache
from importlib import resources

COMBINATORS = (
    *("simplestate", "ordefault", "distinct", "resample", "foreach", "argmax", "argmin", "ornull"),
    *("tuple", "merge", "state", "array", "null", "map", "if"),
)


@cache
def names(judgement: str) -> frozenset[str]:
    """The names in `JUDGEMENT.txt`."""
    return frozenset((resources.files(__name__) / f"{judgement}.txt").read_text("utf-8").split())


@cache
def allows(name: str) -> bool:
    """Whether a function may be called, in whatever case it is written."""
    name = name.lower()
    return name in names("allowed") or _is_aggregate(name)


def refuses(name: str) -> bool:
    """Whether it was judged and may not be called."""
    return name.lower() in names("refused")


def _is_aggregate(name: str) -> bool:
    if name in names("aggregates"):
        return True
    return any(_is_aggregate(name.removesuffix(end)) for end in COMBINATORS if name.endswith(end) and name != end)
