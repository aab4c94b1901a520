"""Calls to Moesif's dialect without a server, as the edge makes them."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
from msgspec import Raw

from catchment import pseudonym
from catchment.dialects.dialect import NOBODY, Arrival, Call, Decoded
from catchment.dialects.moesif import Moesif
from catchment.errors import Refused
from catchment.record import EventRecord, ProfileRecord, encode_lines
from catchment.settings import App, Limits, MoesifApp

NOW = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)
NOW_US = 1_767_355_200_000_000
ID = "m" * 50
OTHER_ID = "o" * 50
PEER = "203.0.113.7"
SECRET_HEADERS = ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"]
HASHED = pseudonym.keyed_hash("k")
NOON = "2026-01-02T11:59:00.678Z"

ACTION: dict[str, Any] = {"action_name": "A", "request": {"uri": "https://x/y"}}
CALL: dict[str, Any] = {"request": {"time": NOON, "uri": "https://x/y?q=1", "verb": "GET", "headers": {}}}
USER: dict[str, Any] = {"user_id": "u"}
COMPANY: dict[str, Any] = {"company_id": "c"}
SUBSCRIPTION: dict[str, Any] = {"subscription_id": "s", "company_id": "c"}
ELEMENTS: dict[str, dict[str, Any]] = {
    "actions": ACTION,
    "events": CALL,
    "users": USER,
    "companies": COMPANY,
    "subscriptions": SUBSCRIPTION,
}


def moesif(*, plain: bool = False, limits: Mapping[str, int] | None = None, **settings: Any) -> Moesif:
    """The dialect with two applications, of which `shop` has these settings."""
    return Moesif(
        {
            "shop": App(moesif=MoesifApp(application_ids=["another", ID], **settings)),
            "other": App(moesif=MoesifApp(application_ids=[OTHER_ID])),
            "silent": App(),
        },
        Limits(**(limits or {})),
        pseudonym=pseudonym.plain if plain else HASHED,
        credential_headers=SECRET_HEADERS,
    )


MOESIF = moesif()


def arrival() -> Arrival:
    ids = count(1)
    return Arrival(NOW, NOW_US, lambda: f"id-{next(ids)}")


def call(
    path: str,
    body: Any = b"",
    *,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
    key: str | None = ID,
    dialect: Moesif = MOESIF,
) -> Decoded:
    """What the edge does with a call. A body that is not bytes is sent as JSON."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    sent = {"x-moesif-application-id": key} if key is not None else {}
    for route in dialect.routes:
        if route.method == method and (path in route.literals or route.pattern.match(path)):
            if len(body) > route.body_bytes_max:
                raise Refused(dialect.faults.too_large, "too large")
            made = Call(method, path, "", {**sent, **(headers or {})}, PEER, {})
            caller = NOBODY if route.open else dialect.authenticate(made)
            return dialect.decode(route.endpoint, made, caller, body, arrival())
    raise Refused(dialect.faults.not_found, "no such route")


def events(path: str, body: Any, **kwargs: Any) -> list[EventRecord]:
    decoded = call(path, body, **kwargs)
    assert decoded.answer.status == 201
    assert encode_lines(decoded.records).count(b"\n") == len(decoded.records)
    return [record for record in decoded.records if isinstance(record, EventRecord)]


def action(body: Any, **kwargs: Any) -> EventRecord:
    """The record of one action, or of members laid over one."""
    (only,) = events("/v1/actions", ACTION | body if isinstance(body, dict) else body, **kwargs)
    return only


def api_call(body: Any, *, request: Any = None, **kwargs: Any) -> EventRecord:
    """The record of one API call, or of members laid over one and over its request."""
    if isinstance(body, dict):
        body = CALL | body | {"request": CALL["request"] | (request or {})}
    (only,) = events("/v1/events", body, **kwargs)
    return only


def profile(resource: str, body: Any, **kwargs: Any) -> ProfileRecord:
    (only,) = call(f"/v1/{resource}", body, **kwargs).records
    assert isinstance(only, ProfileRecord)
    encode_lines([only])
    return only


def leaves(record: ProfileRecord) -> dict[str, Any]:
    return {path: json.loads(value) for path, value in record.leaves}


def payload(record: EventRecord | ProfileRecord) -> Any:
    return json.loads(payload_text(record))


def payload_text(record: EventRecord | ProfileRecord) -> bytes:
    assert isinstance(record.payload, Raw)
    return bytes(record.payload)


def refusal(*args: Any, **kwargs: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        call(*args, **kwargs)
    return caught.value


def fault(*args: Any, **kwargs: Any) -> tuple[int, int | str, str]:
    """Status, code and path of a refusal."""
    refused = refusal(*args, **kwargs)
    return refused.fault.status, refused.fault.code, refused.path
