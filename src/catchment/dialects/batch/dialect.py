"""The dialect: keys, then the body, which is accepted whole or refused for one fault.

Bodies are JSON whatever their Content-Type says. The faults are looked for in stages (contracts/batch.md 3): bad JSON
anywhere, then object by object a required member that is missing, then the form of the members in the order in which
they were sent. Of two members with one name the last wins (contract 6.24).
"""

import hmac
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import msgspec
from msgspec import Raw

from catchment.dialects.batch.events import ELEMENTS, ITEM, SINGLE, SOURCE, checked_user_id, event_record
from catchment.dialects.batch.faults import FAULTS, MALFORMED, MALFORMED_JSON, MISUSE, TOO_MANY, UNAUTHORIZED
from catchment.dialects.batch.members import Context, members_of
from catchment.dialects.dialect import (
    Answer,
    Arrival,
    Call,
    Caller,
    Decoded,
    Route,
    json_fault,
    one_line,
    require_utf8,
    user_agent_of,
    values_of,
)
from catchment.errors import Refused
from catchment.keyring import Keyring
from catchment.record import Record
from catchment.settings import App, BatchApp, Limits

JSON = [("content-type", "application/json")]
RETRY_AFTER = ("retry-after", "5")  # the vendor says so in words only (contract 1, 6.47)

User = tuple[str, str, list[Raw]]  # path in the body, custom user id, events
_KEY_IN_PATH = re.compile(r"(/[0-9]+\.[0-9]+/+)[^/]+")
_ANY: msgspec.json.Decoder[Raw] = msgspec.json.Decoder(Raw)
_ENCODER = msgspec.json.Encoder()


class _Grant(NamedTuple):
    """What an API key of the path leads to. `kind` is "live", "dev" or "sdk"."""

    app: BatchApp
    kind: str
    rest_api_keys: tuple[bytes, ...]


class Batch:
    """The dialect. A path's API key leads to the application; `X-Authorization` must be a REST key of the same one."""

    source = SOURCE
    owns = re.compile(r"^/[0-9]+\.[0-9]+/")
    key_header = "x-authorization"
    faults = FAULTS
    conceal: Callable[[bytes], bytes] = staticmethod(bytes)  # no credentials in these bodies
    preflight: Answer | None = None  # the key is a secret of servers (contract 1)

    def __init__(self, apps: Mapping[str, App], limits: Limits) -> None:
        users, bytes_max = r"^/1\.0/(?P<api_key>[^/]+)/events/users", limits.batch_body_bytes_max
        # A path is decoded before it is matched, so a user id may hold any character (contract 6.4).
        self.routes: tuple[Route, ...] = (
            Route("POST", "single", re.compile(users + r"/(?P<user_id>.+)\Z", re.DOTALL), bytes_max),
            Route("POST", "bulk", re.compile(users + r"/?\Z"), bytes_max),
        )
        self._callers = Keyring(pair for name, app in apps.items() if app.batch for pair in _keys(name, app.batch))
        self._events_max = limits.batch_events_max
        self._values_max = limits.json_values_max
        self._user_id_chars_max = limits.batch_user_id_chars_max
        self._name_pattern = re.compile(rf"ue\.[A-Za-z0-9_]{{1,{limits.batch_event_name_chars_max}}}")

    def authenticate(self, call: Call) -> Caller:
        """By the API key in the path and the REST API key in the header, which must agree (contract 6.17 to 6.20)."""
        given = call.headers.get(self.key_header)
        if not given:
            raise Refused(UNAUTHORIZED, "X-Authorization is missing; `catchment keys` prints the right one")
        caller = self._callers.find(call.parameters["api_key"])
        if caller is None:
            raise Refused(UNAUTHORIZED, "the API key in the path is not a Live, Dev or SDK key of this server")
        secret = given.encode(errors="surrogatepass")
        if not any(hmac.compare_digest(secret, key) for key in caller.grant.rest_api_keys):
            raise Refused(UNAUTHORIZED, "X-Authorization is not a REST API key of the application in the path")
        return caller

    def decode(self, endpoint: str, call: Call, caller: Caller, body: bytes, arrival: Arrival) -> Decoded:
        """`endpoint` is `single` or `bulk`. Every answer has a token of its own (contract 6.3)."""
        grant: _Grant = caller.grant
        if not grant.app.trigger_events:
            raise Refused(
                MISUSE, "trigger events are turned off for this application: `trigger_events` in its settings"
            )
        user_agent, token = user_agent_of(call), arrival.new_id()
        limits = self._name_pattern, self._user_id_chars_max
        context = Context(caller.app, grant.app, grant.kind, call.peer, user_agent, token, arrival, *limits)
        try:
            require_utf8(body)
            _ANY.decode(body)  # all of it, before `one_line` can hide a line break inside a string
            self._require_few_values(body)
            line = one_line(body)
            users = _single(line, call, context) if endpoint == "single" else _bulk(line, context)
            records = self._records(users, context)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Refused(MALFORMED_JSON, json_fault(error).reason, path="$") from None
        except UnicodeEncodeError:
            raise Refused(MALFORMED, "a custom user id must be valid UTF-8") from None
        return Decoded(records, Answer(201, JSON, b'{"token":"%b"}' % token.encode()))

    def _require_few_values(self, body: bytes) -> None:
        """Of each object and array that is looked into, all members and elements are cut out first."""
        if len(body) > self._values_max and values_of(body) > self._values_max:
            reason = f"must not have more than {self._values_max} JSON values, commas in texts counted too"
            raise Refused(MALFORMED, reason, path="$")

    def conceal_path(self, path: str) -> str:
        """The path without the API key, whether that is a known one or not, and whatever stands before it."""
        return _KEY_IN_PATH.sub(r"\1{api_key}", path, count=1)

    def refuse(self, refused: Refused) -> Answer:
        """`{"code", "type", "message"}`; the message names the place of the fault and the rule (contract 3)."""
        fault = refused.fault
        place = "body" if refused.path == "$" else refused.path.removeprefix("$").removeprefix(".")
        message = f"{place}: {refused.reason}" if place else refused.reason
        headers = [*JSON, RETRY_AFTER] if fault is TOO_MANY else JSON
        body = _ENCODER.encode({"code": fault.code, "type": fault.name, "message": message})
        return Answer(fault.status, headers, body)

    def _records(self, users: Iterator[User], context: Context) -> list[Record]:
        """The events of all users in order; the limit is on their sum (contract 6.32)."""
        records: list[Record] = []
        for path, user_id, events in users:
            if len(records) + len(events) > self._events_max:
                reason = f"a request must not have more than {self._events_max} events over all users"
                raise Refused(MALFORMED, reason, path=f"{path}.events")
            for position, raw in enumerate(events):
                records.append(event_record(raw, user_id, context, len(records), path, position))
        return records


def _single(body: bytes, call: Call, context: Context) -> Iterator[User]:
    events = members_of(SINGLE, body, context, "$")["events"]
    yield "$", checked_user_id(call.parameters["user_id"], context), events


def _bulk(body: bytes, context: Context) -> Iterator[User]:
    try:
        users = ELEMENTS.decode(body)
    except msgspec.ValidationError as error:
        raise Refused(MALFORMED, json_fault(error).reason, path="$") from None
    for position, raw in enumerate(users):
        path = f"$[{position}]"
        user = members_of(ITEM, raw, context, path)
        yield path, user["id"], user["events"]


def _keys(name: str, app: BatchApp) -> Iterator[tuple[str, Caller]]:
    """The API keys of an application; a key that is listed as several kinds counts as the last of these."""
    rest_api_keys = tuple(key.encode(errors="surrogatepass") for key in app.rest_api_keys)
    for kind, keys in (("sdk", app.sdk), ("dev", app.dev), ("live", app.live)):
        for key in keys:
            yield key, Caller(name, _Grant(app, kind, rest_api_keys))
