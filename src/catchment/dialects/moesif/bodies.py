"""API calls that are too large: their captured bodies are cut, and the event is kept (contracts/moesif.md 2.9).

Of the vendor's limit of 1 MiB an event, a body keeps 450 KiB, as base64: of the text where it is a text, of the JSON
otherwise. Two such bodies leave room for the rest. The larger one is cut first, and the other only if need be.
"""

import base64

import msgspec
from msgspec import Raw

from catchment.dialects.moesif.faults import value_of
from catchment.dialects.moesif.shapes import ApiCall, ApiRequest, ApiResponse

BASE64 = "base64"
_KEPT_OF_1024 = 450
_QUOTES = 2


def cut_bodies(event: ApiCall, size: int, size_max: int) -> tuple[dict[str, ApiRequest | ApiResponse], int]:
    """Cuts bodies of the event until its `size` in bytes becomes `size_max`, as far as that goes: the sides that were
    cut, by name, and the size that is left."""
    kept = size_max * _KEPT_OF_1024 // 1024 // 4 * 4
    sides: dict[str, ApiRequest | ApiResponse] = {"request": event.request}
    if event.response is not None:
        sides["response"] = event.response
    cut: dict[str, ApiRequest | ApiResponse] = {}
    for name, side in sorted(sides.items(), key=lambda pair: len(bytes(pair[1].body)), reverse=True):
        length = len(bytes(side.body))
        if size <= size_max or length <= kept + _QUOTES:
            break
        side.body = Raw(msgspec.json.encode(_beginning(side, kept)))
        side.transfer_encoding = BASE64
        size -= length - len(bytes(side.body))
        cut[name] = side
    return cut, size


def _beginning(side: ApiRequest | ApiResponse, chars_max: int) -> str:
    """The body as base64, of so many characters; what is base64 stays as it is, but for its line breaks."""
    whole = bytes(side.body)
    if whole[:1] == b'"':
        text: str = value_of(side.body)
        if (side.transfer_encoding or side.transferEncoding or "").lower() == BASE64:
            return "".join(text.split())[:chars_max]
        whole = text.encode(errors="replace")
    beginning = whole[: chars_max // 4 * 3].decode(errors="ignore")  # without half a character at the end
    return base64.b64encode(beginning.encode()).decode()
