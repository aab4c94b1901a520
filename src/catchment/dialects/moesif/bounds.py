"""How much memory it may take to take a body apart, looked at before that is done (contracts/moesif.md 2.9).

JSON of a few bytes can become Python objects of many: an empty object of 3 bytes is an element with a field for each
member that it might have. So elements are counted without making them, and where a body has more values than its limit,
those that are never looked into - captured bodies, metadata of events - are taken off before it is refused.

Counting is cheap - characters, at the speed of memory - and only where that finds too many is anything decoded for it.
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from catchment.dialects.dialect import values_of
from catchment.dialects.moesif.faults import TOO_LARGE
from catchment.dialects.moesif.shapes import NULL
from catchment.errors import Refused


class _Element(Struct, gc=False):
    """Any object; it takes 16 bytes, whatever it has."""


class _Side(Struct, gc=False):
    body: Raw = Raw(NULL)


class _Action(Struct, gc=False):
    request: _Side | None = None
    metadata: Raw = Raw(NULL)


class _ApiCall(_Action, gc=False):
    response: _Side | None = None


_ANY: msgspec.json.Decoder[Raw] = msgspec.json.Decoder(Raw)
_ELEMENTS: msgspec.json.Decoder[list[_Element]] = msgspec.json.Decoder(list[_Element])
_UNTOUCHED: dict[tuple[str, bool], msgspec.json.Decoder[Any]] = {
    ("actions", False): msgspec.json.Decoder(_Action),
    ("actions", True): msgspec.json.Decoder(list[_Action]),
    ("events", False): msgspec.json.Decoder(_ApiCall),
    ("events", True): msgspec.json.Decoder(list[_ApiCall]),
}


class Bounds:
    """At most so many elements in a batch, and values in what is taken apart of a body."""

    def __init__(self, elements_max: int, values_max: int) -> None:
        self._elements_max = elements_max
        self._values_max = values_max

    def require(self, body: bytes, resource: str, *, batch: bool) -> None:
        """Raises `Refused` for too much, or msgspec's errors where it comes upon one."""
        many = batch and body.count(b",") >= self._elements_max
        dense = len(body) >= self._values_max and values_of(body) > self._values_max
        if many or dense:
            _ANY.decode(body)  # what is no JSON at all is told before anything else
        if many and len(_ELEMENTS.decode(body)) > self._elements_max:
            raise Refused(TOO_LARGE, f"a batch has at most {self._elements_max} elements")
        if dense and values_of(body) - _untouched(body, resource, batch=batch) > self._values_max:
            raise Refused(TOO_LARGE, f"a body has at most {self._values_max} JSON values, commas in texts counted too")


def _untouched(body: bytes, resource: str, *, batch: bool) -> int:
    """How many values are in the parts that stay as they were sent."""
    decoder = _UNTOUCHED.get((resource, batch))
    if decoder is None:
        return 0
    elements = decoder.decode(body) if batch else [decoder.decode(body)]
    parts = [element.metadata for element in elements]
    parts += [element.request.body for element in elements if element.request]
    if resource == "events":
        parts += [element.response.body for element in elements if element.response]
    return sum(values_of(bytes(part)) for part in parts)
