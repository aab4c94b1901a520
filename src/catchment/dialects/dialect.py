"""What a vendor's dialect is to the edge, and the values that pass between them.

The edge calls, in this order: `routes` (once), `authenticate`, then - with the body read within the route's limit and
decompressed - `decode`. Each may raise `Refused`; `refuse` turns that into the vendor's own answer. A dialect is told
the time and handed ids (`Arrival`): it has no clock and no randomness of its own, so the same call always decodes to
the same records.
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import msgspec

from catchment.errors import Fault, Refused
from catchment.record import Record

USER_AGENT_CHARS_MAX = 1024
_FAULT_PATH = re.compile(r"^(?P<reason>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_SKIM = msgspec.json.Decoder(msgspec.Raw)
_MISSING_FIELD = re.compile(r"^Object missing required field `(?P<field>[^`]+)`$")


class Headers(Protocol):
    """Request headers; names in lower case."""

    def get(self, key: str, default: Any = None) -> Any: ...
    def __contains__(self, key: str, /) -> bool: ...


class Call(NamedTuple):
    """A request without its body; `peer` is the client's address, `parameters` the groups of the route's pattern."""

    method: str
    path: str
    query: str
    headers: Headers
    peer: str
    parameters: dict[str, str]


class Answer(NamedTuple):
    """What goes back to the client."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Route(NamedTuple):
    """One endpoint. `literals` are its usual spellings, looked up before any pattern is tried; an `open` one is served
    without a key."""

    method: str
    endpoint: str
    pattern: re.Pattern[str]
    body_bytes_max: int
    literals: tuple[str, ...] = ()
    open: bool = False


class Arrival(NamedTuple):
    """When a call arrived: `received_us` is the first of a run of arrival numbers, one for each record."""

    received_at: datetime
    received_us: int
    new_id: Callable[[], str]


class Caller(NamedTuple):
    """Who called: the application, what the dialect wants to remember of the key (`grant`), and which part of the
    application the key is for (`scope`), where a vendor has such."""

    app: str
    grant: Any = None
    scope: str = ""


NOBODY = Caller("")


class Decoded(NamedTuple):
    """An accepted call: its records, and the answer to give once they are durable."""

    records: list[Record]
    answer: Answer


class Faults(NamedTuple):
    """The refusals that the edge itself decides on, in the vendor's terms."""

    not_found: Fault
    wrong_method: Fault
    too_large: Fault
    malformed: Fault
    unavailable: Fault
    defect: Fault
    too_many: Fault = Fault(429, "too_many_requests", "Too Many Requests")
    maintenance: Fault = Fault(503, "maintenance", "Service Unavailable")
    key_reused: Fault = Fault(422, "idempotency_key_reused", "Unprocessable Content")
    too_slow: Fault = Fault(408, "timeout", "Request Timeout")


class Dialect(Protocol):
    """One vendor's API. `owns` matches the paths whose faults are answered in this vendor's form, known or not;
    `key_header` is the header by which a call to any other path is told to be this vendor's; `preflight` is the answer
    to a CORS preflight, where browsers may call this vendor."""

    source: str
    owns: re.Pattern[str]
    key_header: str
    routes: tuple[Route, ...]
    faults: Faults
    preflight: Answer | None

    def authenticate(self, call: Call) -> Caller:
        """The application that the call's key leads to, else raises `Refused`."""
        ...

    def decode(self, endpoint: str, call: Call, caller: Caller, body: bytes, arrival: Arrival) -> Decoded:
        """All records of the body, or `Refused` for its first fault: never a part of them."""
        ...

    def conceal(self, body: bytes) -> bytes:
        """A refused body with its credentials replaced, as far as they can be told in what may not even be JSON."""
        ...

    def conceal_path(self, path: str) -> str:
        """A path with its key replaced, where the vendor has it there."""
        ...

    def refuse(self, refused: Refused) -> Answer:
        """The vendor's error answer."""
        ...


def user_agent_of(call: Call) -> str | None:
    """The request's User-Agent, cut: it is repeated in every record of the request."""
    user_agent: str | None = call.headers.get("user-agent")
    return user_agent[:USER_AGENT_CHARS_MAX] if user_agent else None


class JsonFault(NamedTuple):
    """Why a body does not fit: the sentence, the JSON path of the fault, and whether a required member is missing."""

    reason: str
    path: str
    missing: bool
    malformed: bool


def json_fault(error: Exception) -> JsonFault:
    """Reads msgspec's message apart: ``Expected `str`, got `int` - at `$[3].name` `` becomes sentence and path."""
    if isinstance(error, RecursionError):
        return JsonFault("JSON is nested too deeply", "$", missing=False, malformed=True)
    if not isinstance(error, msgspec.ValidationError):
        return JsonFault(str(error), "$", missing=False, malformed=True)
    match = _FAULT_PATH.match(str(error))
    reason, path = (match["reason"], match["path"] or "$") if match else (str(error), "$")
    missing = _MISSING_FIELD.match(reason)
    if missing:
        return JsonFault(f"required field `{missing['field']}` is missing", f"{path}.{missing['field']}", True, False)
    return JsonFault(reason, path, missing=False, malformed=False)


def one_line(body: bytes) -> bytes:
    """JSON text without line breaks: valid JSON has them between tokens only, where a space means the same.

    Raises `msgspec.DecodeError` where one stands within a text, which is no JSON.
    """
    if b"\n" in body or b"\r" in body:
        _SKIM.decode(body)
        return body.replace(b"\r", b" ").replace(b"\n", b" ")
    return body


def values_of(text: bytes) -> int:
    """At most how many JSON values there are: each stands behind a comma or an opening bracket, or alone."""
    return 1 + text.count(b",") + text.count(b"[") + text.count(b"{")


def require_utf8(body: bytes) -> None:
    """Raises `msgspec.DecodeError` for invalid UTF-8, which msgspec does not look for in the parts that it skips."""
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise msgspec.DecodeError(f"body is not valid UTF-8 (byte {error.start})") from None
