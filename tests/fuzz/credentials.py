"""The target of Moesif's credentials in what is accepted: a token or header in its place is stored as a hash only.

An input is one byte for the route, one for the name, what stands before the credential, a zero byte, and what stands
behind it. Elsewhere than in its place - in metadata, in a captured body - the same name says nothing, and is kept.
"""

import json
from typing import Any

from catchment.dialects.dialect import Call
from catchment.errors import Refused
from catchment.record import encode_lines
from tests.fuzz.calls import KEYS, SECRET, SPEAKERS, arrival
from tests.fuzz.target import Target, require

TOKENS = ("session_token", "sessionToken")
NAMES = (*TOKENS, "Authorization", "cookie", "Set-Cookie", "X-API-Key", "proxy-authorization")
SIDES = ("request", "response")
HEADER_NAMES = frozenset(name.lower() for name in NAMES if name not in TOKENS)
_MOESIF = SPEAKERS[0]["moesif"]
_ROUTES = [route for route in _MOESIF.routes if route.method == "POST"]
Pairs = tuple[tuple[str, Any], ...]  # an object's members as they were sent, doubles too


def accepted(data: bytes) -> None:
    """Of an accepted call, no record has the credential."""
    number, choice = (*data[:2], 0, 0)[:2]
    before, _, behind = data[2:].partition(b"\0")
    route, name = _ROUTES[number % len(_ROUTES)], NAMES[choice % len(NAMES)]
    body = before + b'"%b":"%b"' % (name.encode(), SECRET.encode()) + behind
    call = Call("POST", f"/v1/{route.endpoint}", "", KEYS, "203.0.113.7", {})
    try:
        records = _MOESIF.decode(route.endpoint, call, _MOESIF.authenticate(call), body, arrival()).records
    except Refused:
        return
    sent = json.loads(body, object_pairs_hook=tuple, parse_int=float)
    if all(map(_in_its_place, sent if route.endpoint.endswith("_batch") else [sent])):
        require(SECRET.encode() not in encode_lines(records), "no credential is stored")


def _in_its_place(element: Pairs) -> bool:
    """Whether each text of the element that has the credential stands where credentials do."""
    others: list[Any] = []
    for name, value in element:
        if name in SIDES and isinstance(value, tuple):
            for inner_name, inner in value:
                if inner_name == "headers" and isinstance(inner, tuple):
                    others += [both for both in inner if both[0].lower() not in HEADER_NAMES]
                else:
                    others.append((inner_name, inner))
        elif name not in TOKENS:
            others.append((name, value))
    return SECRET not in json.dumps(others, ensure_ascii=False)


_AROUND = (
    (b'{"action_name":"A","request":{"uri":"/"},', b"}"),
    (b'{"request":{"time":"2026-01-02T11:59:00Z","uri":"/","verb":"GET","headers":{', b'}},"user_id":"u"}'),
    (b'{"request":{"time":1767355100000,"uri":"/","verb":"GET"},"response":{"status":200,"headers":{"a":"b",', b"}}}"),
    (b'{"user_id":"u","company_id":"c","subscription_id":"s",', b',"session_token":null}'),
)
_SEEDS = [
    bytes([number, choice]) + (b"[%b\0%b]" if route.endpoint.endswith("_batch") else b"%b\0%b") % around
    for number, route in enumerate(_ROUTES)
    for choice in range(0, len(NAMES), 2)
    for around in _AROUND
]
TARGETS = [Target("credentials", accepted, _SEEDS)]
