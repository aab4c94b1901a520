"""A line for each setting that is wrong: the key, what was found and where it comes from, what is allowed.

What may be a secret is never shown."""

import copy
import difflib
import json
import tomllib
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from catchment.config.first import first_file
from catchment.config.given import TOKEN_PATHS, Location, lay, leaves
from catchment.settings import (
    CONDITION_PATH,
    HEADER_NAME,
    HEADER_VALUE,
    HOST_NAME,
    SAMPLED_PATH,
    SHA256_HEX,
    VARIABLE_NAME,
    Section,
    Settings,
)
from catchment.tokens import token_hash

SECRETS = frozenset(
    """token token_hash hash_key application_ids rest_api_keys live dev sdk platforms expiring_keys""".split()
)
SHOWN_CHARS_MAX = 80
_ROUNDS_MAX = 4
_NAMES = sorted({name for section in Section.__subclasses__() for name in section.model_fields})

# What is allowed, by the type of Pydantic's error; braces are filled from the error.
_ALLOWED = {
    "missing": "it must be given",
    "greater_than": "it must be more than {gt}",
    "greater_than_equal": "it must be {ge} or more",
    "less_than_equal": "it must be {le} or less",
    "int_type": "it must be a whole number",
    "int_parsing": "it must be a whole number",
    "int_from_float": "it must be a whole number",
    "float_type": "it must be a number",
    "float_parsing": "it must be a number",
    "bool_type": "it must be true or false",
    "bool_parsing": "it must be true or false",
    "string_type": "it must be a text",
    "string_too_short": "it must have {min_length} or more characters",
    "string_too_long": "it must have {max_length} characters or less",
    "list_type": 'it must be a list, like ["a", "b"]',
    "too_short": "it must have at least {min_length} entry",
    "dict_type": "it must be a table",
    "model_type": "it must be a table",
    "literal_error": "it must be {expected}",
    "timezone_aware": "it must be a time with its offset, like 2027-01-31T00:00:00Z",
    "datetime_type": "it must be a time with its offset, like 2027-01-31T00:00:00Z",
    "datetime_parsing": "it must be a time with its offset, like 2027-01-31T00:00:00Z",
    "datetime_from_date_parsing": "it must be a time with its offset, like 2027-01-31T00:00:00Z",
    "invalid-json-value": "it must be a text, a number, true, false, a list or a table",
}
_ALLOWED_BY_PATTERN = {
    r"^\S+$": "it must be without spaces",
    r"^[A-Za-z0-9_-]{1,64}$": "it must be 1 to 64 letters, digits, _ or -",
    HEADER_NAME: "it must be the name of a header",
    HEADER_VALUE: "it must be plain ASCII without line breaks",
    CONDITION_PATH: "it must be a place in a call, like request.verb, request.body.x or response.status",
    SAMPLED_PATH: "it must be request.verb, request.route, request.ip_address or response.status",
    VARIABLE_NAME: "it must be without braces and |",
    HOST_NAME: "it must be a name, like catchment.example.com",
    SHA256_HEX: "it must be 64 hexadecimal digits, as `catchment token` writes them",
    r"^[!-~]+$": "it must be plain ASCII without spaces",
}


def mistakes(tree: dict[str, Any], origins: Mapping[Location, str]) -> list[str]:
    """A line for each mistake. A rule about several settings is looked at only once each of them is sound; so what is
    wrong is taken out, and the rest is looked at again."""
    found: list[str] = []
    for _ in range(_ROUNDS_MAX):
        try:
            Settings.model_validate(tree)
        except ValidationError as error:
            details = error.errors()
            found += [_problem(detail, origins) for detail in details]
            tree = _without(tree, [detail["loc"] for detail in details])
        else:
            break
    return list(dict.fromkeys(found))


def _without(tree: dict[str, Any], locations: list[Location]) -> dict[str, Any]:
    """The tree without the wrong settings; where one must be given, and for a wrong vendor's table, that of a first
    file stands in."""
    rest = copy.deepcopy(tree)
    for location in locations:
        *outer, last = location[:3] if location[:1] == ("apps",) else location[:2] or ("",)
        place: Any = rest
        for part in outer:
            place = place.get(part) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place.pop(str(last), None)
    whole = tomllib.loads(first_file(token_hash("")))
    if any((name, part) in TOKEN_PATHS for name, table in rest.items() if isinstance(table, dict) for part in table):
        del whole["console"]  # there is one, and there must not be two
    sound = [given for given in leaves((), rest, "") if given.value != {}]
    if any(given.path[0] == "apps" for given in sound):
        del whole["apps"]
    for given in sound:
        lay(whole, given, {})
    return whole


def _problem(detail: Any, origins: Mapping[Location, str]) -> str:
    """`ingest.port: found 99999 from CATCHMENT_INGEST__PORT; it must be 65535 or less`"""
    location: Location = detail["loc"]
    kind, found = detail["type"], detail.get("input")
    key = ".".join(str(part) for part in location if part != "[key]")
    where = _where(location, origins)
    if kind == "value_error":
        message = detail["msg"].removeprefix("Value error, ")
        return f"{key}: {message}" if key else message
    if kind == "extra_forbidden":
        close = [
            match
            for names in (_names_beside(location), _NAMES)
            for match in difflib.get_close_matches(str(location[-1]), names, 1)
        ]
        return f"{key}: there is no such setting{where}" + (f"; did you mean {close[0]}?" if close else "")
    if kind == "missing":
        hint = "`catchment token` makes a token and writes its hash" if key == "console" else _ALLOWED[kind]
        return f"{key}: missing; {hint}"
    shown = _kind(found) if kind in ("model_type", "dict_type") or _is_secret(location) else show(found)
    return f"{key}: found {shown}{where}; {_allowed(kind, detail)}"


def _names_beside(location: Location) -> list[str]:
    """The settings of the section that the location is in."""
    section = Settings.model_fields[str(location[0])].annotation if location[0] in Settings.model_fields else None
    return sorted(section.model_fields) if isinstance(section, type) and issubclass(section, Section) else []


def _allowed(kind: str, detail: Any) -> str:
    bounds = detail.get("ctx", {})
    known = _ALLOWED_BY_PATTERN.get(bounds.get("pattern")) or _ALLOWED.get(kind)
    if kind == "string_too_short" and bounds["min_length"] == 1:
        known = "it must not be empty"
    shown = {name: f"{bound:.12g}" if isinstance(bound, float) else bound for name, bound in bounds.items()}
    return known.format(**shown) if known else detail["msg"].lower()


def _where(location: Location, origins: Mapping[Location, str]) -> str:
    """` from CATCHMENT_INGEST__PORT`, where the value, or something in it, does not come from the file."""
    for place, origin in origins.items():
        common = min(len(place), len(location))
        if place[:common] == location[:common]:
            return f" from {origin}"
    return ""


def _is_secret(location: Location) -> bool:
    """Whether a value may be a secret; the name of an application or a platform is none."""
    names = location[2:] if location[:1] == ("apps",) else location
    return location[-1:] != ("[key]",) and not SECRETS.isdisjoint(names)


def show(found: object) -> str:
    """A value that is no secret, on one line of bounded length."""
    if isinstance(found, (dict, list)):
        return _kind(found)
    text = repr(found) if isinstance(found, str) else json.dumps(found, default=str)
    return text if len(text) <= SHOWN_CHARS_MAX else text[: SHOWN_CHARS_MAX - 3] + "..."


def _kind(found: object) -> str:
    """What kind of thing was found, for one that should not be shown."""
    if isinstance(found, str):
        return f"a text of {len(found)} character{'' if len(found) == 1 else 's'}"
    if isinstance(found, list):
        return f"a list of {len(found)}"
    if isinstance(found, dict):
        return f"a table of {len(found)}" if found else "an empty table"
    return "a number" if isinstance(found, (int, float)) else "something else"
