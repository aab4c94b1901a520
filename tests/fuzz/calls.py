"""Targets of the edge: each dialect over all its routes, the router, bodies, and what is kept of a refusal.

An input of a dialect is one byte for the route, one for the settings and a header, a line of text, and the body. The
text is what else a sender chooses: a user id or platform in the path, a query, the header's value.
"""

import json
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, get_args

import msgspec
from msgspec import Raw

from catchment.dialects.dialect import NOBODY, Answer, Arrival, Call, Dialect, Route
from catchment.edge.rejections import Rejections
from catchment.edge.routing import Router
from catchment.edge_wiring import dialects
from catchment.errors import Refused
from catchment.record import EventRecord, ProfileRecord, Record, RejectionRecord, encode_lines
from catchment.settings import Settings
from tests.fuzz.target import Target, require

CASES = Path(__file__).parents[1] / "cases"
NOW, NOW_US = datetime(2026, 1, 2, 12, tzinfo=UTC), 1_767_355_200_000_000
MOESIF_ID, LIVE, REST, PLATFORM, PLATFORM_KEY = "moesif-id-for-the-fuzzer", "LIVEKEY", "rest-key", "SHOP", "moloco-key"
SECRET = "s3cret-0f-s0mebody"
KEYS = {"x-moesif-application-id": MOESIF_ID, "x-authorization": REST, "x-api-key": PLATFORM_KEY}
HEADERS = (
    *("user-agent", "accept", "if-none-match", "content-type", "x-moesif-sdk", "x-moesif-metadata", "x-forwarded-for"),
    *("x-real-ip", "origin", "idempotency-key"),
)
_RULES: tuple[dict[str, Any], ...] = ({}, {"time_window": "reject"})
_LIMITS: tuple[dict[str, Any], ...] = (
    {},
    {
        "moesif_event_bytes_max": 1024,
        "moesif_batch_elements_max": 3,
        "batch_events_max": 3,
        "json_values_max": 1000,
        "rejection_bytes_max": 300,
    },
)


def settings_of(variant: int) -> Settings:
    """An application that all three vendors' clients may call, by the usual rules (0) or by narrow ones (1)."""
    return Settings.model_validate(
        {
            "console": {"token": "console-token-of-the-fuzzer-32-chars"},
            "privacy": {"hash_key": "hash-key-of-the-fuzzer"},
            "limits": _LIMITS[variant],
            "apps": {
                "shop": {
                    "moesif": {"application_ids": [MOESIF_ID], **_RULES[variant]},
                    "batch": {"rest_api_keys": [REST], "live": [LIVE], **_RULES[variant]},
                    "moloco": {"platforms": {PLATFORM: [PLATFORM_KEY]}},
                }
            },
        }
    )


def _read_as(record: type[Record]) -> type[msgspec.Struct]:
    """The same members, strictly, but raw JSON where a record has it or a text."""
    fields = msgspec.structs.fields(record)
    types = [(field.name, Raw if Raw in get_args(field.type) else field.type) for field in fields]
    optional = [(name, kind, msgspec.UNSET) for name, kind in types]
    return msgspec.defstruct(record.__name__, optional, forbid_unknown_fields=True)


_READ = {record: _read_as(record) for record in (EventRecord, ProfileRecord, RejectionRecord)}
VARIANTS = [settings_of(variant) for variant in range(len(_RULES))]
SPEAKERS = [{dialect.source: dialect for dialect in dialects(settings)} for settings in VARIANTS]
ROUTERS = [Router(dialects(settings)) for settings in VARIANTS]


def arrival() -> Arrival:
    """Always the same, with ids of its own."""
    numbers = count(1)
    return Arrival(NOW, NOW_US, lambda: f"00000000-0000-7000-8000-{next(numbers):012d}")


def decoded(source: str, data: bytes) -> None:
    """A call becomes records or a refusal, and both are as they have to be."""
    number, choice = (*data[:2], 0, 0)[:2]
    line, _, body = data[2:].partition(b"\n")
    variant = choice % len(VARIANTS)
    dialect = SPEAKERS[variant][source]
    route = dialect.routes[number % len(dialect.routes)]
    call = _call(route, HEADERS[choice // len(VARIANTS) % len(HEADERS)], line.decode("utf-8", "replace"))
    if len(body) > route.body_bytes_max:
        return
    first = _outcome(dialect, route, call, body, VARIANTS[variant])
    require(first == _outcome(dialect, route, call, body, VARIANTS[variant]), "a call decodes to the same again")


def _call(route: Route, header: str, text: str) -> Call:
    parameters = {"api_key": LIVE, "user_id": text or "u", "platform": PLATFORM}
    wanted = {name: parameters[name] for name in route.pattern.groupindex}
    headers = {**KEYS, "x-platform-id": PLATFORM, header: text} if text else {**KEYS, "x-platform-id": PLATFORM}
    return Call(route.method, f"/{route.endpoint}", text, headers, "203.0.113.7", wanted)


def _outcome(dialect: Dialect, route: Route, call: Call, body: bytes, settings: Settings) -> bytes:
    try:
        caller = NOBODY if route.open else dialect.authenticate(call)
        records, answer = dialect.decode(route.endpoint, call, caller, body, arrival())
    except Refused as refused:
        _require_sound(answer := dialect.refuse(refused), 400, 499)
        json.loads(answer.body)
        kept = Rejections(settings.limits).record(dialect, call, NOBODY, refused, body, arrival())
        require(kept is not None and len(kept.payload) <= 4 * settings.limits.rejection_bytes_max, "its bound is kept")
        return _lines([kept]) + answer.body
    _require_sound(answer, 200, 399)
    require(len({record.received_us for record in records}) == len(records), "each record has its arrival number")
    require(all(record.event_id for record in records), "each record has an id")
    return _lines(records) + answer.body


def _lines(records: list[Any]) -> bytes:
    lines = encode_lines(records)
    split = lines.split(b"\n")
    require(len(split) == len(records) + 1 and split[-1] == b"", "a record is one line")
    for record, line in zip(records, split, strict=False):
        require(line.startswith(b'{"app":'), "a line starts as the log expects it")
        read = msgspec.json.decode(line, type=_READ[type(record)])
        require(_members(msgspec.json.encode(read)) == _members(line), "a line that is read is what was written")
    return lines


def _members(line: bytes) -> Any:
    return json.loads(line, parse_int=float)  # of an integer, Python takes 4300 digits at most


def _require_sound(answer: Answer, least: int, most: int) -> None:
    require(least <= answer.status <= most, f"the status is {answer.status}")
    for name, value in answer.headers:
        require((name + value).isascii() and (name + value).isprintable(), f"the header {name} can be sent")


def routed(data: bytes) -> None:
    """Any request line has a dialect that answers it, and leads to a key or to a refusal."""
    choice = data[0] if data else 0
    method, _, path = data[1:].decode("utf-8", "replace").partition(" ")
    name, key = list(KEYS.items())[choice // len(ROUTERS) % len(KEYS)]
    headers = {name: key} if choice & 0x80 else {}
    match = ROUTERS[choice % len(ROUTERS)].resolve(method, path, headers)
    require((match.route is None) == (match.fault is not None), "there is a route, or a fault")
    shown = match.dialect.conceal_path(path)
    call = Call(method, path, "", headers, "203.0.113.7", match.parameters)
    if match.fault is not None:
        require(match.fault.status in (404, 405), "a fault of a path is 404 or 405")
        _require_sound(match.dialect.refuse(Refused(match.fault, f"{method} {shown} is not served here")), 404, 405)
        return
    require(match.route is not None and match.route.method == method, "a route serves its method only")
    api_key = match.parameters.get("api_key")
    if api_key and api_key not in "{api_key}":
        require(path.count(api_key) > shown.count(api_key), "the key is not shown")
    try:
        match.dialect.authenticate(call)
    except Refused as refused:
        _require_sound(match.dialect.refuse(refused), 400, 499)


def rejected(data: bytes) -> None:
    """Of a refused body nothing is kept that stands behind the name of a credential, wherever in it that is."""
    choice = data[0] if data else 0
    before, _, behind = data[1:].partition(b"\0")
    name = ("authorization", "Cookie", "session_token", "sessionToken")[choice // 2 % 4].encode()
    body = before + b'"' + name + b'":"' + SECRET.encode() + b'"' + behind
    variant = choice % len(VARIANTS)
    dialect, settings = SPEAKERS[variant]["moesif"], VARIANTS[variant]
    refused = Refused(dialect.faults.malformed, "it was refused", path="$")
    call = Call("POST", "/v1/events", "", {}, "203.0.113.7", {})
    caller = dialect.authenticate(call._replace(headers=KEYS))
    record = Rejections(settings.limits).record(dialect, call, caller, refused, body, arrival())
    require(record is not None, "the first refusal of a minute is kept")
    line = _lines([record])
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return  # in what is no JSON, a quote that is open may hide the name
    if before.endswith(b"\\"):
        return  # then the quote belongs to a longer name
    require(SECRET[:10].encode() not in line, "no credential is kept")


def _cases(vendor: str) -> list[tuple[str, bytes]]:
    cases = json.loads((CASES / f"{vendor}.json").read_text("utf-8"))
    return [(case["path"], case["body"].encode()) for case in cases]


_ODD = (
    b'{"events":[\n{"name":"ue.a",\r\n"label":"\xc3\xa9","attributes":\n{}}]}',
    b'{"action_name":"\xc3\xa9",\n"request":{"uri":"/"}}',
    b"",
    b"[]",
    b"[" * 3000,
    b'{"a":1e999}',
    b'"\\ud800"',
    b'{"timestamp":' + b"1" * 4500 + b"}",
)


def _seeds(source: str) -> list[bytes]:
    """The cases of the vendor on their routes, and for each route and header a short body."""
    routes = SPEAKERS[0][source].routes
    paths = [(path.replace("PLATFORM", PLATFORM).replace("LIVE_API_KEY", LIVE), body) for path, body in _cases(source)]
    seeds = [
        bytes([number, choice]) + b"someone\n" + body
        for path, body in paths
        for number, route in enumerate(routes)
        if route.method == "POST" and route.pattern.match(path)
        for choice in range(2)
    ]
    texts = (b"application/json;q=0.5, */*", b"source=a&timestamp=1617870506121&item_id=i&user_id=u", b"Mozilla/5.0")
    for number in range(len(routes)):
        seeds += [bytes([number, choice]) + text + b"\n{}" for choice, text in zip((2, 0, 1), texts, strict=True)]
        seeds += [bytes([number, 0]) + b"\n" + body for body in _ODD]
    large = json.dumps({"request": {"time": NOW_US // 1000, "uri": "/", "verb": "PUT", "body": {"a": "x" * 1200}}})
    many = json.dumps({"action_name": "A", "request": {"uri": "/"}, "metadata": {"n": [1] * 1100}})
    for number, route in enumerate(routes):
        if source == "moesif" and route.endpoint.startswith(("events", "actions")):
            text = large if route.endpoint.startswith("events") else many
            text = f"[{text}]" if route.endpoint.endswith("_batch") else text
            seeds += [bytes([number, 1]) + b"\n" + text.encode(), bytes([number, 1]) + b"\n[" + b"{}," * 4 + b"{}]"]
    for resource, name in (("users", "user_id"), ("companies", "company_id"), ("subscriptions", "subscription_id")):
        profile = json.dumps({name: "i", "company_id": "c", "metadata": {"a.b": {}, "n": [1]}, "session_token": "t"})
        for number, route in enumerate(routes):
            if route.endpoint.startswith(resource):
                text = f"[{profile}]" if route.endpoint.endswith("_batch") else profile
                seeds.append(bytes([number, 0]) + b"\n" + text.encode())
    return seeds


def _dialect(source: str) -> Target:
    return Target(source, lambda data: decoded(source, data), _seeds(source), bytes_max=6000)


_PATHS = (
    *("/v1/events", "/a/b//v1///actions/batch/", "/v1", "/health/probe", "/favicon.ico", "//", "/health//probe/x"),
    *(f"/1.0/{LIVE}/events/users/a b", "/1.0/x/events/users", "/2.10/x", f"/{'1' * 50}.0//{LIVE}/events/users/"),
    *(f"/rmp/event/v1/platforms/{PLATFORM}/userevents", "/rmp/x", "/cdp/SEGMENT", "/cdp/SEGMENT/", "/t/i/SHOP", "/t/c"),
)
_AROUND = (
    (b"{", b"}"),
    (b'{"request":{"headers":{"a":"b",', b'}},"x":[1,2]}'),
    (b'[{"name":"Cookie","value":["x"],', b"}]"),
    (b'{"a":"\\u0041",', b',"b":"{\\"cookie\\":\\"y\\"}"}'),
    (b'"', b""),
    (b'{"x":"' + b"y" * 280 + b'",', b"}"),
)
TARGETS = [
    *map(_dialect, ("batch", "moloco", "moesif")),
    Target(
        "routing",
        routed,
        [
            bytes([choice]) + f"{method} {path}".encode()
            for path in _PATHS
            for method, choice in (("POST", 0x80), ("GET", 0x83), ("OPTIONS", 0))
        ],
        bytes_max=10_000,
    ),
    Target("rejections", rejected, [bytes([at]) + b"\0".join(pair) for at in range(8) for pair in _AROUND]),
]
