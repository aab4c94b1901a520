"""What is laid over the file: the environment's variables and the command line's options, each with its origin, so that
a mistake can say where it comes from."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from catchment.settings import Settings

ENV_PREFIX = "CATCHMENT_"
ENV_DELIMITER = "__"
TOKEN_PATHS = frozenset({("console", "token"), ("console", "token_hash")})

Location = tuple[str | int, ...]


class Given(NamedTuple):
    """A value from elsewhere than the file, and where it comes from."""

    path: tuple[str, ...]
    value: object
    origin: str


def environment(variables: Mapping[str, str]) -> list[Given]:
    """What the environment gives; a whole table (`CATCHMENT_INGEST`) yields to one value of it."""
    found: list[Given] = []
    for name, text in sorted(variables.items(), key=lambda item: item[0].count(ENV_DELIMITER)):
        path = tuple(name.removeprefix(ENV_PREFIX).lower().split(ENV_DELIMITER))
        if name.startswith(ENV_PREFIX) and (len(path) > 1 or path[0] in Settings.model_fields):
            found += leaves(path, _parsed(text), name)
    return found


def token_variable() -> str | None:
    """The variable of the environment that gives the console's token or its hash, if one does."""
    return next((given.origin for given in environment(os.environ) if given.path in TOKEN_PATHS), None)


def _parsed(text: str) -> object:
    """Lists and tables are JSON; what is not JSON after all stays text, for its mistake to be named."""
    if text.lstrip().startswith(("[", "{")):
        with contextlib.suppress(json.JSONDecodeError):
            return json.loads(text)
    return text


def leaves(path: tuple[str, ...], value: object, origin: str) -> Iterator[Given]:
    """The single values of a tree; None there means that nothing was given."""
    if isinstance(value, Mapping) and (value or not path):
        for key, inner in value.items():
            yield from leaves((*path, str(key)), inner, origin)
    elif value is not None:
        yield Given(path, value, origin)


def lay(tree: dict[str, Any], given: Given, origins: dict[Location, str]) -> None:
    """Puts a value in its place and notes its origin; names are spelled as in the file, if they stand there."""
    place = tree
    location: tuple[str, ...] = ()
    for part in given.path[:-1]:
        name = _spelled(part, place)
        location = (*location, name)
        if not isinstance(place.get(name), dict):
            if location in origins:
                return  # a variable gives something else where this one wants a table: that mistake is named
            place[name] = {}
        place = place[name]
    last = _spelled(given.path[-1], place)
    place[last] = given.value
    origins[(*location, last)] = given.origin


def _spelled(part: str, place: dict[str, Any]) -> str:
    return part if part in place else next((name for name in place if name.lower() == part.lower()), part)
