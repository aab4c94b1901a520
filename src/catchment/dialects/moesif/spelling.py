"""camelCase beside snake_case: Moesif's java client and its own node samples write `userId` (contracts/moesif.md 6.20).

snake_case is the name; camelCase is read where it alone has a value. Only the vendor's own members have two names:
what stands in metadata, bodies and headers is the customer's. The forms in `shapes` have a field for each spelling, so
that msgspec finds both in one pass and a fault's path has the name that was sent.
"""

import re
from functools import cache
from typing import Any, NamedTuple

from msgspec import UNSET, Struct

_WORD = re.compile(r"_([a-z])")


class Names(NamedTuple):
    """The members of an object with two names, by the other one; and what is known of the objects in it."""

    renamed: dict[str, str]
    inner: dict[str, "Names"]


def camel(name: str) -> str:
    """`utm_source` in camelCase: `utmSource`."""
    return _WORD.sub(lambda found: found[1].upper(), name)


def names(*members: str, **inner: Names) -> Names:
    """The table of an object."""
    return Names({camel(name): name for name in members if "_" in name}, inner)


@cache
def pairs_of(form: type[Struct]) -> tuple[tuple[str, str], ...]:
    """The fields of a form that has each under both names: (snake_case, camelCase)."""
    fields = form.__struct_fields__
    return tuple((name, camel(name)) for name in fields if "_" in name and camel(name) in fields)


def settle(element: Struct) -> None:
    """Moves what came under a camelCase name alone to the field that everybody reads."""
    for name, other in pairs_of(type(element)):
        value = getattr(element, other)
        if value is not None and getattr(element, name) in (None, UNSET):
            setattr(element, name, value)


def sent_name(element: Struct, name: str) -> str:
    """The name under which a settled member was sent."""
    value, other = getattr(element, name), camel(name)
    return other if value is not None and getattr(element, other, None) is value else name


def canonical(document: dict[str, Any], table: Names) -> dict[str, Any]:
    """The same object under the names that everybody reads, as far as the table knows them."""
    result: dict[str, Any] = {}
    for sent, value in document.items():
        name = table.renamed.get(sent, sent)
        if (document.get(name) is not None) if name != sent else (value is None and name in result):
            continue  # the other spelling has a value
        inner = table.inner.get(name)
        result[name] = value if inner is None else _canonical_inside(value, inner)
    return result


def _canonical_inside(value: Any, table: Names) -> Any:
    if isinstance(value, list):
        return [canonical(part, table) if isinstance(part, dict) else part for part in value]
    return canonical(value, table) if isinstance(value, dict) else value
