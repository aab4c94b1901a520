"""What the clients send: a table of the three vendors' calls, each event with a mark of its own.

The mark `c3-17` is the 17th event of client 3. It is a member of what each vendor lets the sender say freely, so SQL
finds it in `properties.t`, and a profile's user has it as its name. Each call has what makes it count once when it is
sent again: the vendor's id, or an `Idempotency-Key`.

Times lie far back, so that no jump of the clock makes them times to come; where the vendor allows it, every other
event has none, and takes the server's.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

EPOCH = datetime(2026, 3, 2, 10, tzinfo=UTC)
USERS = 40
_EVENT_TYPES = ("HOME", "LAND")


class Call(NamedTuple):
    """One call of so many `events`, from `first` on; `form` is an index of `FORMS`."""

    form: int
    first: int
    events: int
    path: str
    headers: dict[str, str]
    body: bytes


class Form(NamedTuple):
    """One kind of call: how its events are found (`source` and `kind` of a row), the numbers of events that it may
    have, how often it is made among others, and what is answered where it is taken. `keyed` says that it needs an
    `Idempotency-Key`; `element` makes one event from its mark and number, `body` the whole from all of them, and `path`
    and `headers` are made from the keys."""

    name: str
    source: str
    kind: str
    sizes: tuple[int, ...]
    weight: int
    success: int
    keyed: bool
    element: Callable[[str, int], dict[str, Any]]
    body: Callable[[list[dict[str, Any]]], Any]
    path: Callable[[Mapping[str, str]], str]


def mark(client: int, number: int) -> str:
    """The mark of an event."""
    return f"c{client}-{number}"


def make(form: int, client: int, first: int, count: int, keys: Mapping[str, str]) -> Call:
    """A call of these events."""
    kind = FORMS[form]
    elements = [kind.element(mark(client, number), number) for number in range(first, first + count)]
    headers = headers_of(kind.source, keys)
    if kind.keyed:
        headers["Idempotency-Key"] = f'"{mark(client, first)}"'
    return Call(form, first, count, kind.path(keys), headers, json.dumps(kind.body(elements)).encode())


def make_bad(source: str, name: str, keys: Mapping[str, str]) -> Call:
    """A call that the vendor would refuse, with a mark `name` in its body."""
    path, body = BAD[source]
    return Call(-1, 0, 0, path(keys), headers_of(source, keys), json.dumps(body | {"t": name}).encode())


def headers_of(source: str, keys: Mapping[str, str]) -> dict[str, str]:
    """Content type and key."""
    key = {"moesif": "application_id", "batch": "rest_api_key", "moloco": "api_key"}[source]
    header = {"moesif": "X-Moesif-Application-Id", "batch": "X-Authorization", "moloco": "x-api-key"}[source]
    return {"Content-Type": "application/json", header: keys[key]}


def _user(number: int) -> str:
    return f"user-{number % USERS}"


def _moment(number: int) -> datetime:
    return EPOCH + timedelta(seconds=number % 86_400)


def _action(name: str, number: int) -> dict[str, Any]:
    request: dict[str, Any] = {"uri": "https://acme.com/pricing"}
    if number % 2:
        request["time"] = f"{_moment(number):%Y-%m-%dT%H:%M:%S.000Z}"
    return {"action_name": "Clicked", "user_id": _user(number), "request": request, "metadata": {"t": name}}


def _identified_action(name: str, number: int) -> dict[str, Any]:
    return _action(name, number) | {"transaction_id": name}


def _api_call(name: str, number: int) -> dict[str, Any]:
    time = f"{_moment(number):%Y-%m-%dT%H:%M:%S.000Z}"
    return {
        "request": {"time": time, "uri": "https://api.acme.com/items/42", "verb": "GET", "headers": {}},
        "response": {"time": time, "status": 200, "headers": {}},
        "user_id": _user(number),
        "metadata": {"t": name},
    }


def _identified_api_call(name: str, number: int) -> dict[str, Any]:
    return _api_call(name, number) | {"transaction_id": name}


def _profile(name: str, number: int) -> dict[str, Any]:
    return {"user_id": name, "metadata": {"t": name, "plan": "free", "visits": number}}


def _trigger(name: str, number: int) -> dict[str, Any]:
    event: dict[str, Any] = {"name": "ue.added_to_cart", "label": "shoes", "attributes": {"t": name}}
    if number % 2:
        event["time"] = f"{_moment(number):%Y-%m-%dT%H:%M:%SZ}"
    return event


def _triggers_of_users(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Some events for each user, as a bulk call has them."""
    return [{"id": _user(start), "events": events[start : start + 3]} for start in range(0, len(events), 3)]


def _user_event(name: str, number: int) -> dict[str, Any]:
    return {
        "event_type": _EVENT_TYPES[number % len(_EVENT_TYPES)],
        "timestamp": str(int(_moment(number).timestamp() * 1000)),
        "channel_type": "SITE",
        "user_id": _user(number),
        "t": name,
    }


def _identified_user_event(name: str, number: int) -> dict[str, Any]:
    return _user_event(name, number) | {"id": name}


def _only(elements: list[dict[str, Any]]) -> Any:
    return elements[0]


def _all(elements: list[dict[str, Any]]) -> Any:
    return elements


def _moesif(path: str) -> Callable[[Mapping[str, str]], str]:
    return lambda _keys: path


def _batch(rest: str) -> Callable[[Mapping[str, str]], str]:
    return lambda keys: f"/1.0/{keys['live']}/events/users{rest}"


def _moloco(keys: Mapping[str, str]) -> str:
    return f"/rmp/event/v1/platforms/{keys['platform']}/userevents"


def _of_one_user(events: list[dict[str, Any]]) -> Any:
    return {"events": events}


_BATCHES = (2, 10, 40)
FORMS = (
    Form("action", "moesif", "action", (1,), 4, 201, False, _identified_action, _only, _moesif("/v1/actions")),
    Form(
        "actions", "moesif", "action", _BATCHES, 4, 201, False, _identified_action, _all, _moesif("/v1/actions/batch")
    ),
    Form("keyed actions", "moesif", "action", _BATCHES, 2, 201, True, _action, _all, _moesif("/v1/actions/batch")),
    Form("API call", "moesif", "api_call", (1,), 3, 201, False, _identified_api_call, _only, _moesif("/v1/events")),
    Form("API calls", "moesif", "api_call", _BATCHES, 2, 201, True, _api_call, _all, _moesif("/v1/events/batch")),
    Form("user", "moesif", "user", (1,), 1, 201, False, _profile, _only, _moesif("/v1/users")),
    Form("trigger events", "batch", "event", (1, 3), 3, 201, True, _trigger, _of_one_user, _batch("/one-user")),
    Form("bulk", "batch", "event", _BATCHES, 3, 201, True, _trigger, _triggers_of_users, _batch("")),
    Form("user event", "moloco", "event", (1,), 5, 200, False, _identified_user_event, _only, _moloco),
    Form("keyed user event", "moloco", "event", (1,), 2, 200, True, _user_event, _only, _moloco),
)
BAD: dict[str, tuple[Callable[[Mapping[str, str]], str], dict[str, Any]]] = {
    "moesif": (_moesif("/v1/actions"), {"request": {"uri": "https://acme.com/"}}),
    "batch": (_batch("/one-user"), {"events": [{"name": "no prefix"}]}),
    "moloco": (_moloco, {"event_type": "HOME"}),
}
