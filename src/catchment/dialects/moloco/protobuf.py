"""JSON as protobuf reads it (contracts/moloco.md 3): what the vendor's gateway takes, this takes.

Every member has a snake_case and a camelCase name, null and "" mean "not given", numbers may be decimal text, enums may
be numbers, and unknown members are no fault. A member that comes twice is one.

A body is parsed twice: by msgspec, which is strict about JSON and cuts out the raw members, and by `json` into tuples
of (name, value) pairs, which alone show a member that was sent twice. So here an object is a tuple.
"""

import json
import math
import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from catchment.dialects.dialect import json_fault, require_utf8
from catchment.dialects.moloco.faults import invalid
from catchment.errors import Refused

Message = dict[str, Any]  # an object's values by documented name; None for a member that is unset or unknown
Read = Callable[[Any, str], Any]  # makes a value of parsed JSON, given the member's name, or raises `Refused`

INT32 = (-(2**31), 2**31 - 1)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_NUMBER_CHARS_MAX = _SHOWN_CHARS_MAX = 64
_BRACKETS: dict[type, str] = {tuple: "{", list: "["}


def misfit(kind: str, name: str, value: Any) -> Refused:
    """A value of the wrong JSON type, in the words of contract 6.25; the path is from the enclosing message on."""
    shown = _BRACKETS.get(type(value)) or json.dumps(value, ensure_ascii=False)[:_SHOWN_CHARS_MAX]
    return invalid(f"proto: invalid value for {kind} field {name}: {shown}", name)


def _string(value: Any, name: str) -> str:
    if type(value) is not str:
        raise misfit("string", name, value)
    return value


def number_of(value: Any) -> float | None:
    """What a JSON number or decimal text stands for, as a double, which holds every integer that matters here."""
    text = type(value) is str and len(value) <= _NUMBER_CHARS_MAX and _NUMBER.fullmatch(value)
    try:
        number = float(value) if text or type(value) in (int, float) else math.inf
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def integer_of(value: Any) -> int | None:
    """The same for integers: `5`, `5.0`, `5e0` and each of them as text are 5."""
    number = number_of(value)
    return int(number) if number is not None and number.is_integer() else None


def numeric(kind: str, value_of: Callable[[Any], Any], within: tuple[float, float] = (-math.inf, math.inf)) -> Read:
    """A number field of that kind, in words and in bounds."""

    def read(value: Any, name: str) -> Any:
        number = value_of(value)
        if number is None or not within[0] <= number <= within[1]:
            raise misfit(kind, name, value)
        return number

    return read


def enum(listed: str, *, unnumbered: str = "") -> Read:
    """By exact name or by number, which is the place in the list; the first name, the default, counts as unset."""
    names = listed.split()
    table: dict[str, str | None] = {name: name for name in (*names, *unnumbered.split())}
    table |= {str(number): name for number, name in enumerate(names)}
    table |= {"0": None, names[0]: None}

    def read(value: Any, name: str) -> str | None:
        text = value if type(value) is str else str(integer_of(value))
        if text not in table:
            raise misfit("enum", name, value)
        return table[text]

    return read


def message(strings: str = "", **others: Read) -> Read:
    """An object with these members; one given twice, in whichever spellings, is a fault (contract 6.22)."""
    reads = dict.fromkeys(strings.split(), _string) | others
    camel = {name: re.sub(r"_([a-z])", lambda match: match[1].upper(), name) for name in reads}
    fields = {spelling: (name, reads[name]) for name in reads for spelling in (name, camel[name])}

    def read(value: Any, name: str) -> Message:
        if type(value) is not tuple:
            raise misfit("message", name, value)
        found: Message = {}
        try:
            for sent, given in value:
                member, reader = fields.get(sent) or (sent, None)
                if member in found:
                    raise invalid(f"proto: duplicate field {member[:_SHOWN_CHARS_MAX]}", member[:_SHOWN_CHARS_MAX])
                found[member] = None if reader is None or given is None or given == "" else reader(given, member)
        except Refused as refused:
            refused.path = f"{name}.{refused.path}"
            raise
        return found

    return read


def array(read_element: Read) -> Read:
    """An array of such elements."""

    def read(value: Any, name: str) -> list[Any]:
        if type(value) is not list:
            raise misfit("repeated", name, value)
        return [read_element(element, f"{name}[{index}]") for index, element in enumerate(value)]

    return read


def _finite(digits: str) -> float:
    """Beyond a double is no number to anything downstream."""
    if math.isinf(value := float(digits)):
        raise ValueError
    return value


_RAW_MEMBERS: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])
_PAIRS = json.JSONDecoder(object_pairs_hook=tuple, parse_float=_finite)


def parsed(body: bytes, form: Read) -> tuple[dict[str, Raw], Message]:
    """The raw members as sent, and the message. An empty body is an empty message (contract 6.24)."""
    text = body if body.strip() else b"{}"
    try:
        require_utf8(text)
        raws = _RAW_MEMBERS.decode(text)
        pairs = _PAIRS.decode(text.decode())
    except (msgspec.DecodeError, RecursionError) as error:
        fault = json_fault(error)
        raise invalid(f"proto: syntax error: {fault.reason}", fault.path) from None
    except ValueError:
        raise invalid("proto: syntax error: number out of range", "$") from None
    return raws, form(pairs, "$")
