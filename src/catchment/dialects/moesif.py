"""Moesif's collector API v1: actions, API calls, users (contracts/moesif.md).

Bodies are JSON whatever their Content-Type says, compressed or not; an explicit null means "not given"; a batch is
accepted whole or not at all, and the error names the element. Each element is decoded twice by msgspec, once into its
typed form and once into its raw bytes, so that a record keeps it as sent; only an element that carries a credential is
written anew, with the credential's hash in its place.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

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
)
from catchment.dialects.moesif_shapes import (
    FAULTS,
    INVALID,
    MALFORMED,
    MISSING,
    TOO_OLD,
    UNAUTHORIZED,
    Action,
    ApiCall,
    User,
    given,
    in_utc,
    moment,
    object_or_empty,
    path_of,
    valid_id,
    valid_weight,
)
from catchment.errors import Refused
from catchment.record import EMPTY_OBJECT, EventRecord, ProfileRecord, Record, TooManyLeaves, profile_leaves
from catchment.settings import App, Limits, MoesifApp

SOURCE = "moesif"
KEY_HEADER = "x-moesif-application-id"
SESSION_TOKEN = b'"session_token"'
STATUS_MAX = 999

JSON_CORS = [("content-type", "application/json"), ("access-control-allow-origin", "*")]
CREATED = Answer(201, JSON_CORS, b"{}")
PREFLIGHT = Answer(
    204,
    [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", "POST, GET, OPTIONS"),
        ("access-control-allow-headers", "content-type, content-encoding, x-moesif-application-id, x-moesif-sdk"),
        ("access-control-max-age", "86400"),
    ],
    b"",
)


class _Headers(NamedTuple):
    text: Raw | None
    user_agent: str | None
    redacted: bool


class _Shape(NamedTuple):
    """How the elements of one endpoint are decoded, and which method of `Moesif` makes their records."""

    single: msgspec.json.Decoder[Any]
    batch: msgspec.json.Decoder[Any]
    convert: Callable[..., Record]


class _Grant(NamedTuple):
    """What a key grants: the application's time window."""

    age_max: timedelta
    reject_late: bool


class _Context(NamedTuple):
    """What the elements of one call share."""

    app: str
    peer: str
    user_agent: str | None
    grant: _Grant
    arrival: Arrival
    now_naive: datetime
    maybe_secret: bool  # whether the body names a place where credentials stand

    def late(self, time: datetime) -> bool:
        """Whether an event of this time is too old; refuses it if the application says so."""
        age = (self.now_naive if time.tzinfo is None else self.arrival.received_at) - time
        late = age > self.grant.age_max
        if late and self.grant.reject_late:
            raise Refused(TOO_OLD, f"events may be at most {self.grant.age_max.days} days old", path="$.request.time")
        return late


_TEXT = re.compile(rb'"((?:[^"\\]|\\.)*)"?')
_RAW_LIST: msgspec.json.Decoder[list[Raw]] = msgspec.json.Decoder(list[Raw])
_DOCUMENT: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])


class Moesif:
    """The dialect. `pseudonym` turns a credential into what is stored of it."""

    source = SOURCE
    owns = re.compile(r"^/(?:.*/)?v1(?:/.*)?$")
    key_header = KEY_HEADER
    faults = FAULTS
    preflight: Answer | None = PREFLIGHT  # browsers may call every path, without a key (contract 6.12)

    def __init__(
        self,
        apps: Mapping[str, App],
        limits: Limits,
        *,
        pseudonym: Callable[[str], str],
        credential_headers: Iterable[str],
    ) -> None:
        self.routes = _routes(limits)
        self._callers = {
            key: Caller(name, _grant(app.moesif))
            for name, app in apps.items()
            if app.moesif
            for key in app.moesif.application_ids
        }
        self._elements_max = limits.moesif_batch_elements_max
        self._pseudonym = pseudonym
        self._credential_headers = frozenset(name.lower() for name in credential_headers)
        names = b"|".join(re.escape(name.encode()) for name in sorted({"session_token", *self._credential_headers}))
        self._credential = re.compile(rb'("(?:' + names + rb')"\s*:\s*)(\[[^\]]*\]?|"(?:[^"\\]|\\.)*"?)', re.IGNORECASE)
        self._shapes = {
            "actions": _Shape(msgspec.json.Decoder(Action), msgspec.json.Decoder(list[Action]), self._action),
            "events": _Shape(msgspec.json.Decoder(ApiCall), msgspec.json.Decoder(list[ApiCall]), self._api_call),
            "users": _Shape(msgspec.json.Decoder(User), msgspec.json.Decoder(list[User]), self._user),
        }

    def authenticate(self, call: Call) -> Caller:
        """By `X-Moesif-Application-Id` alone (contract 1.1)."""
        key = call.headers.get(KEY_HEADER)
        caller = self._callers.get(key) if key else None
        if caller is None:
            what = "is missing" if not key else "is not an application id of this server"
            raise Refused(UNAUTHORIZED, f"X-Moesif-Application-Id {what}; `catchment keys` prints the right one")
        return caller

    def decode(self, endpoint: str, call: Call, caller: Caller, body: bytes, arrival: Arrival) -> Decoded:
        """`endpoint` is the plural noun, with `_batch` for arrays."""
        noun, batch, _ = endpoint.partition("_")
        shape = self._shapes[noun]
        try:
            require_utf8(body)
            body = one_line(body)
            raws = self._elements(body) if batch else [Raw(body.strip())]
            elements = shape.batch.decode(body) if batch else [shape.single.decode(body)]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _refused(error) from None
        now_naive = arrival.received_at.replace(tzinfo=None)
        secret = SESSION_TOKEN in body or b'"headers"' in body
        context = _Context(caller.app, call.peer, user_agent_of(call), caller.grant, arrival, now_naive, secret)
        records: list[Record] = []
        for index, (element, raw) in enumerate(zip(elements, raws, strict=True)):
            try:
                records.append(shape.convert(element, raw, context, index))
            except Refused as refused:
                if batch:
                    refused.path = f"$[{index}]" + refused.path.removeprefix("$")
                raise
        return Decoded(records, CREATED)

    def conceal(self, body: bytes) -> bytes:
        """Replaces texts, and texts in arrays, that stand behind the name of a credential."""
        return self._credential.sub(lambda found: found[1] + _TEXT.sub(self._conceal_text, found[2]), body)

    def _conceal_text(self, found: re.Match[bytes]) -> bytes:
        return msgspec.json.encode(self._pseudonym(found[1].decode("utf-8", "backslashreplace")))

    def refuse(self, refused: Refused) -> Answer:
        """`{"moesif_error": {"code", "msg"}}` with CORS, or browsers send it again for ever (contract 5)."""
        fault = refused.fault
        message = f"{refused.reason} - at `{refused.path}`" if refused.path else refused.reason
        return Answer(
            fault.status, JSON_CORS, msgspec.json.encode({"moesif_error": {"code": fault.code, "msg": message}})
        )

    def _action(self, action: Action, raw: Any, context: _Context, index: int) -> EventRecord:
        request = action.request
        given_id, token, time = action.transaction_id, action.session_token, request.time
        if not action.action_name:
            raise Refused(INVALID, "action_name is empty", path="$.action_name")
        late = False
        if time is None:
            time = context.arrival.received_at
        else:
            time = moment(time, "$.request.time")
            late = context.late(time)
        return EventRecord(  # in the order of the fields, which is three times as fast
            app=context.app,
            source=SOURCE,
            kind="action",
            event_id=valid_id(given_id) if given_id else context.arrival.new_id(),
            received_us=context.arrival.received_us + index,
            payload=self._redacted(raw) if token is not None or context.maybe_secret else raw,
            ip=request.ip_address or context.peer,
            user_agent=request.user_agent_string or context.user_agent,
            name=action.action_name,
            time=time,
            undated=request.time is None and bool(given_id),
            late=late,
            user_id=action.user_id,
            anonymous_id=action.anonymous_id,
            company_id=action.company_id,
            subscription_id=action.subscription_id,
            session_token=self._token(token),
            uri=request.uri,
            weight=valid_weight(action.weight) if action.weight else 1,
            properties=EMPTY_OBJECT if action.metadata is EMPTY_OBJECT else object_or_empty(action.metadata),
            verb=request.verb,
        )

    def _api_call(self, event: ApiCall, raw: Any, context: _Context, index: int) -> EventRecord:
        request, response = event.request, event.response
        if response is not None and not response.status and response.time is None:
            response = None
        time = moment(request.time, "$.request.time")
        late = context.late(time)
        response_time = None
        if response is not None and response.status is not None and not 0 <= response.status <= STATUS_MAX:
            raise Refused(INVALID, f"status is not within 0 and {STATUS_MAX}", path="$.response.status")
        if response is not None and response.time is not None:
            response_time = moment(response.time, "$.response.time")
            if (response_time.tzinfo is None) != (time.tzinfo is None):
                response_time, time = in_utc(response_time), in_utc(time)
        request_headers = self._headers(request.headers)
        response_headers = self._headers(response.headers if response else None)
        secret = event.session_token is not None or request_headers.redacted or response_headers.redacted
        return EventRecord(
            app=context.app,
            source=SOURCE,
            kind="api_call",
            event_id=valid_id(event.transaction_id) if event.transaction_id else context.arrival.new_id(),
            received_us=context.arrival.received_us + index,
            payload=self._redacted(raw) if secret or _twice(raw) else raw,
            ip=request.ip_address or context.peer,
            user_agent=request_headers.user_agent,
            name=f"{request.verb} {path_of(request.uri)}",
            time=time,
            late=late,
            user_id=event.user_id,
            anonymous_id=event.anonymous_id,
            company_id=event.company_id,
            subscription_id=event.subscription_id,
            session_token=self._token(event.session_token),
            uri=request.uri,
            weight=valid_weight(event.weight) if event.weight else 1,
            properties=EMPTY_OBJECT if event.metadata is EMPTY_OBJECT else object_or_empty(event.metadata),
            tags=[tag for part in event.tags.split(",") if (tag := part.strip())] if event.tags else None,
            label=event.action_name,
            verb=request.verb,
            status=response.status if response else None,
            duration_ms=(response_time - time) / timedelta(milliseconds=1) if response_time else None,
            response_time=response_time,
            request_headers=request_headers.text,
            request_body=given(request.body),
            request_encoding=request.transfer_encoding or None,
            response_headers=response_headers.text,
            response_body=given(response.body) if response else None,
            response_encoding=(response.transfer_encoding or None) if response else None,
            direction=event.direction,
            api_version=request.api_version,
            blocked_by=event.blocked_by,
        )

    def _user(self, user: User, raw: Any, context: _Context, index: int) -> ProfileRecord:
        if not (user.user_id or user.anonymous_id):
            raise Refused(MISSING, "required field `user_id` is missing", path="$.user_id")
        if user.modified_time is not None:
            moment(user.modified_time, "$.modified_time")
        document = _document(raw)
        secret = context.maybe_secret or user.session_token is not None
        payload = Raw(msgspec.json.encode(self._redact(document))) if secret else raw
        token = document.pop("session_token", None)
        if document.get("modified_time") is None:
            document["modified_time"] = context.arrival.received_at.isoformat()
        if not document.get("ip_address"):
            document["ip_address"] = context.peer
        try:
            leaves = profile_leaves(document)
        except TooManyLeaves as error:
            raise Refused(INVALID, str(error), path="$") from None
        return ProfileRecord(
            app=context.app,
            source=SOURCE,
            kind="user",
            event_id=context.arrival.new_id(),
            received_us=context.arrival.received_us + index,
            payload=payload,
            ip=document["ip_address"],
            user_agent=user.user_agent_string or context.user_agent,
            user_id=user.user_id,
            anonymous_id=user.anonymous_id,
            session_token=token,
            leaves=leaves,
        )

    def _token(self, token: str | None) -> str | None:
        return self._pseudonym(token) if token else None

    def _headers(self, headers: dict[str, Any] | None) -> _Headers:
        """The headers as stored, the User-Agent among them, and whether a credential was replaced."""
        if headers is None:
            return _Headers(None, None, False)
        user_agent, redacted = None, False
        for name in headers:
            lower = name.lower()
            if lower == "user-agent" and isinstance(headers[name], str):
                user_agent = headers[name]
            elif lower in self._credential_headers and headers[name]:
                headers[name] = self._hashed(headers[name])
                redacted = True
        return _Headers(Raw(msgspec.json.encode(headers)), user_agent, redacted)

    def _hashed(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._hashed(part) for part in value]
        return None if value is None else self._pseudonym(value if isinstance(value, str) else str(value))

    def _redacted(self, raw: Any) -> Raw:
        """The element with the hashes of its credentials in their place; everything else as sent."""
        return Raw(msgspec.json.encode(self._redact(_document(raw))))

    def _redact(self, document: dict[str, Any]) -> dict[str, Any]:
        if document.get("session_token"):
            document["session_token"] = self._hashed(document["session_token"])
        for side in ("request", "response"):
            part = document.get(side)
            found = part.get("headers") if isinstance(part, dict) else None
            headers: dict[str, Any] = found if isinstance(found, dict) else {}
            for name in headers:
                if name.lower() in self._credential_headers and headers[name]:
                    headers[name] = self._hashed(headers[name])
        return document

    def _elements(self, body: bytes) -> list[Raw]:
        raws = _RAW_LIST.decode(body)
        if len(raws) > self._elements_max:
            raise Refused(FAULTS.too_large, f"a batch has at most {self._elements_max} elements")
        return raws


def _routes(limits: Limits) -> tuple[Route, ...]:
    sizes = {
        "actions": limits.moesif_event_bytes_max,
        "actions_batch": limits.moesif_actions_batch_bytes_max,
        "events": limits.moesif_event_bytes_max,
        "events_batch": limits.moesif_events_batch_bytes_max,
        "users": limits.moesif_event_bytes_max,
        "users_batch": limits.moesif_profiles_batch_bytes_max,
    }
    return tuple(_route(endpoint, bytes_max) for endpoint, bytes_max in sizes.items())


def _route(endpoint: str, bytes_max: int) -> Route:
    """A base URL may have a prefix and doubled slashes (contract 6.27)."""
    path = endpoint.replace("_", "/")
    pattern = re.compile(r"^/(?:.*/)?v1/+" + path.replace("/", "/+") + "/*$")
    return Route("POST", endpoint, pattern, bytes_max, literals=(f"/v1/{path}",))


def _grant(app: MoesifApp) -> _Grant:
    return _Grant(timedelta(days=app.time_window_days), app.time_window == "reject")


def _twice(raw: Any) -> bool:
    """Whether a second `session_token` may hide a first one, which the payload would keep."""
    return bytes(raw).count(SESSION_TOKEN) > 1


def _refused(error: Exception) -> Refused:
    fault = json_fault(error)
    kind = MALFORMED if fault.malformed else MISSING if fault.missing else INVALID
    return Refused(kind, fault.reason, path=fault.path)


def _document(raw: Any) -> dict[str, Any]:
    try:
        return _DOCUMENT.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _refused(error) from None
