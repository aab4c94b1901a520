"""JSON that is small as text and large as objects: what it takes to take it apart is bounded, whatever is sent."""

import time
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count

import pytest

from catchment import pseudonym
from catchment.dialects.batch import Batch
from catchment.dialects.dialect import Arrival, Call, Dialect
from catchment.dialects.moesif import Moesif
from catchment.dialects.moloco import Moloco
from catchment.edge.memory import largest_body_bytes
from catchment.errors import Refused
from catchment.settings import MIB, App, BatchApp, Limits, MoesifApp, MolocoApp

LIMITS = Limits()
APPS = {
    "a": App(
        moesif=MoesifApp(application_ids=["m" * 50]),
        batch=BatchApp(rest_api_keys=["r" * 32], live=["l" * 20]),
        moloco=MolocoApp(platforms={"P": ["k"]}),
    )
}
DIALECTS: dict[str, Dialect] = {
    "moesif": Moesif(APPS, LIMITS, pseudonym=pseudonym.keyed_hash("k"), credential_headers=["authorization"]),
    "batch": Batch(APPS, LIMITS),
    "moloco": Moloco(APPS, LIMITS),
}
HEADERS = {"x-moesif-application-id": "m" * 50, "x-authorization": "r" * 32, "x-api-key": "k"}
TIMES_MAX = 10
CALL_HEAD = b'{"request":{"time":"2026-01-01T00:00:00Z","uri":"/","verb":"GET","headers":'
USER_HEAD = b'[{"user_id":"u","metadata":{"a":['


def filled(head: bytes, unit: bytes, tail: bytes, size: int) -> bytes:
    """`unit` as often as the size has room for it, and never more often than there may be values."""
    return head + unit * ((size - len(head) - len(tail)) // len(unit)) + tail


def members(number: int) -> bytes:
    return b",".join(b'"%x":1' % member for member in range(number))


def bombs() -> Iterator[tuple[str, str, str, bytes]]:
    """Name, dialect, endpoint and body; each as large as its endpoint allows, or with as many values as are allowed."""
    for name, values in (("whole", 10**9), ("dense", LIMITS.json_values_max - 100)):
        batch, actions = min(16 * MIB, values * 3), min(15 * MIB, values * 3)
        profiles = min(12 * MIB, values * 3)
        yield f"{name} integers", "batch", "bulk", filled(b"[", b"1, ", b"1]", batch)
        yield f"{name} objects", "batch", "bulk", filled(b"[", b"{},", b"{}]", batch // 2)
        yield f"{name} events", "batch", "single", filled(b'{"events":[', b"1, ", b"1]}", batch)
        yield f"{name} members", "batch", "single", b"{%b}" % members(min(values, 1_600_000))
        yield f"{name} integers", "moesif", "actions_batch", filled(b"[", b"1, ", b"1]", actions)
        yield f"{name} objects", "moesif", "actions_batch", filled(b"[", b"{},", b"{}]", actions)
        yield f"{name} arrays in metadata", "moesif", "users_batch", filled(USER_HEAD, b"[],", b"[]]}}]", profiles // 2)
        yield (
            f"{name} arrays in headers",
            "moesif",
            "events",
            filled(CALL_HEAD + b'{"a":[', b"[],", b"1]}}}", profiles // 2),
        )
        yield f"{name} members", "moesif", "users_batch", b'[{"user_id":"u",%b}]' % members(min(values, 1_200_000))
    yield "twice", "moesif", "events", filled(CALL_HEAD + b'{"a":[', b"[],", b'1]},"headers":{}}}', 12 * MIB)
    yield "arrays", "moloco", "user_event", filled(b'{"a":[', b"[],", b"1]}", MIB)
    yield "levels", "moesif", "actions", filled(b'{"action_name":"a","request":{},"metadata":', b"[", b"", MIB)
    yield "levels", "batch", "bulk", b"[" * 8 * MIB + b"]" * 8 * MIB
    yield "levels", "moloco", "user_event", b'{"a":' + b"[" * (MIB // 2) + b"]" * (MIB // 2 - 6) + b"}"


@pytest.mark.parametrize(
    ("source", "endpoint", "body"),
    [pytest.param(*bomb, id=f"{bomb[0]} {name}") for name, *bomb in bombs()],
)
def test_json_that_is_large_as_objects_takes_a_bounded_multiple_of_its_text(
    source: str, endpoint: str, body: bytes
) -> None:
    dialect, ids = DIALECTS[source], count()
    call = Call("POST", "/", "", HEADERS, "192.0.2.7", {"api_key": "l" * 20, "user_id": "u", "platform": "P"})
    caller = dialect.authenticate(call)
    arrival = Arrival(datetime.now(UTC), time.time_ns() // 1000, lambda: str(next(ids)))
    tracemalloc.start(1)
    try:
        with suppress(Refused):  # one of so many values may be taken, too
            dialect.decode(endpoint, call, caller, body, arrival)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < TIMES_MAX * largest_body_bytes(LIMITS)


def test_what_is_never_looked_into_does_not_count() -> None:
    dialect, ids = DIALECTS["moesif"], count()
    body = b"[%b]" % b",".join([CALL_HEAD + b'{},"body":[%b1]}}' % (b"1.5," * 200_000)] * 12)
    call = Call("POST", "/", "", HEADERS, "192.0.2.7", {})
    arrival = Arrival(datetime.now(UTC), time.time_ns() // 1000, lambda: str(next(ids)))
    assert len(body) < 12 * MIB
    assert body.count(b",") > 2 * LIMITS.json_values_max
    records, _ = dialect.decode("events_batch", call, dialect.authenticate(call), body, arrival)
    assert len(records) == 12
