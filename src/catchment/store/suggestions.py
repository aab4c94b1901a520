"""What somebody is told who asks for a table that there is not. The engine would name the nearest of all that it has,
its own `system` tables among them, which nobody may read here; so the nearest of ours is named, or all of them."""

import difflib
import re

from catchment.store.schema import VIEWS_TO_ASK

_ENGINE = re.compile(
    r"Unknown table expression identifier '(?P<name>[^']*)'(?:\. Maybe you meant (?P<near>[\w.]+)\?)?.*?"
    r"(?P<code> \(UNKNOWN_TABLE\))?$",
    re.DOTALL,
)
_READABLE = ("catchment.", "information_schema.")


def in_our_words(message: str) -> str:
    """The engine's message; where it is about a table that there is not, ours."""
    found = _ENGINE.match(message)
    if found is None:
        return message
    near = found["near"] or ""
    return no_such_table(found["name"], near if near.startswith(_READABLE) else "") + (found["code"] or "")


def no_such_table(name: str, near: str = "") -> str:
    """A sentence; `near` is what to name where none of the views is like it."""
    *_, last = name.lower().split(".")
    close = difflib.get_close_matches(last, VIEWS_TO_ASK, 1)
    hint = close[0] if close else near
    if hint:
        return f"there is no table '{name}'; did you mean {hint}?"
    *others, final = VIEWS_TO_ASK
    return f"there is no table '{name}'; the views are {', '.join(others)} and {final}"
