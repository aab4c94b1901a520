"""Reads an object member by member, in the order sent, so that the first fault of the document is the one told."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from catchment.dialects.batch.faults import MALFORMED, MISSING
from catchment.dialects.dialect import Arrival, json_fault
from catchment.errors import Refused
from catchment.settings import BatchApp

NULL = Raw(b"null")
_OBJECT: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])


class Context(NamedTuple):
    """What the events of one call share."""

    app: str
    rules: BatchApp
    key_kind: str
    peer: str
    user_agent: str | None
    token: str
    arrival: Arrival
    name_pattern: re.Pattern[str]
    user_id_chars_max: int


class Member(NamedTuple):
    """A member of an object: its type, and its further rules, whose `Refused` has the path below the member."""

    decoder: msgspec.json.Decoder[Any]
    check: Callable[[Any, Context], Any] | None = None
    required: bool = False


def members_of(form: dict[str, Member], raw: bytes | Raw, context: Context, path: str) -> dict[str, Any]:
    """The members that the form knows, in the order sent, or `Refused` for the first fault; `path` is the object's.

    `null` is the same as absent (contract 6.16, 6.29); members that the form does not know are ignored (6.13).
    """
    try:
        sent = _OBJECT.decode(raw)
    except msgspec.ValidationError as error:
        raise Refused(MALFORMED, json_fault(error).reason, path=path) from None
    values: dict[str, Any] = {name: value for name, value in sent.items() if name in form and value != NULL}
    for name, member in form.items():
        if member.required and name not in values:
            raise Refused(MISSING, "is required", path=f"{path}.{name}")
    for name, value in values.items():
        decoder, check, _ = form[name]
        try:
            values[name] = decoder.decode(value)
            if check:
                check(values[name], context)
        except msgspec.ValidationError as error:
            fault = json_fault(error)
            raise Refused(MALFORMED, fault.reason, path=f"{path}.{name}{fault.path.removeprefix('$')}") from None
        except Refused as refused:
            refused.path = f"{path}.{name}{refused.path}"
            raise
    return values
