"""Actions and API calls: from their typed form to the record (contracts/moesif.md 2.1 to 2.3)."""

from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from catchment.dialects.moesif.bodies import cut_bodies
from catchment.dialects.moesif.context import SOURCE, Context
from catchment.dialects.moesif.credentials import NOTHING, Captured, names_two_tokens
from catchment.dialects.moesif.faults import TOO_LARGE, invalid, members_of, missing
from catchment.dialects.moesif.shapes import NULL, Action, ApiCall, ApiRequest, ApiResponse
from catchment.dialects.moesif.times import in_utc
from catchment.errors import Refused
from catchment.record import EMPTY_OBJECT, EventRecord

ID_CHARS_MAX = 256
STATUS_MAX = 999
SCHEME_CHARS_MAX = 16
MILLISECOND = timedelta(milliseconds=1)
_EMPTY = (None, "")


def action_record(action: Action, raw: Any, context: Context, index: int) -> EventRecord:
    """The record of an action; what it does not say of time, address and client is the call's."""
    request = action.request
    name = action.action_name or action.actionName
    if not name:
        raise _nameless(action)
    if request is UNSET:
        raise missing("request")
    given_id, time = action.transaction_id or action.transactionId, request.time
    if time is None:
        moment, late = context.received_at, False
    else:
        moment = context.moment(time, "$.request.time")
        late = context.late(moment)
    token = action.session_token or action.sessionToken
    secret = token or request.headers is not UNSET or action.response is not UNSET or _hides_token(action, raw)
    return EventRecord(  # in the order of the fields, which is three times as fast
        app=context.app,
        source=SOURCE,
        kind="action",
        event_id=valid_id(given_id) if given_id else context.new_id(),
        received_us=context.received_us + index,
        payload=context.credentials.payload(raw) if secret else raw,
        ip=request.ip_address or request.ipAddress or context.peer,
        user_agent=request.user_agent_string or request.userAgentString or context.user_agent,
        name=name,
        time=moment,
        undated=time is None and bool(given_id),
        late=late,
        user_id=action.user_id or action.userId,
        anonymous_id=action.anonymous_id or action.anonymousId,
        company_id=action.company_id or action.companyId,
        subscription_id=action.subscription_id or action.subscriptionId,
        session_token=context.credentials.token(token) if token else None,
        uri=request.uri,
        weight=valid_weight(action.weight) if action.weight else 1,
        properties=EMPTY_OBJECT if action.metadata is EMPTY_OBJECT else object_or_empty(action.metadata),
        verb=request.verb,
    )


def api_call_record(event: ApiCall, raw: Any, context: Context, index: int) -> EventRecord:
    """The record of an API call; captured bodies that are too large are cut."""
    request, response = event.request, event.response
    if response is not None and not response.status and response.time is None:
        response = None
    time, response_time = _times(request, response, context)
    late = context.late(time)
    request_headers = context.credentials.captured(request.headers)
    response_headers = context.credentials.captured(event.response.headers) if event.response else NOTHING
    given_id = event.transaction_id or event.transactionId
    token = event.session_token or event.sessionToken
    cut = _cut(event, raw, context) if context.maybe_large else None
    secret = token or request_headers.redacted or response_headers.redacted or _hides_token(event, raw)
    payload = raw
    if cut or (secret and context.credentials.replaces):
        payload = _rewritten(raw, context, {"request": request_headers, "response": response_headers}, cut)
    return EventRecord(
        app=context.app,
        source=SOURCE,
        kind="api_call",
        event_id=valid_id(given_id) if given_id else context.new_id(),
        received_us=context.received_us + index,
        payload=payload,
        ip=request.ip_address or request.ipAddress or context.peer,
        user_agent=request_headers.user_agent,
        name=f"{request.verb} {path_of(request.uri)}",
        time=time,
        late=late,
        truncated=bool(cut),
        user_id=event.user_id or event.userId,
        anonymous_id=event.anonymous_id or event.anonymousId,
        company_id=event.company_id or event.companyId,
        subscription_id=event.subscription_id or event.subscriptionId,
        session_token=context.credentials.token(token or request_headers.session),
        uri=request.uri,
        weight=valid_weight(event.weight) if event.weight else 1,
        properties=EMPTY_OBJECT if event.metadata is EMPTY_OBJECT else object_or_empty(event.metadata),
        tags=[tag for part in event.tags.split(",") if (tag := part.strip())] if event.tags else None,
        label=event.action_name or event.actionName,
        verb=request.verb,
        status=response.status if response else None,
        duration_ms=(response_time - time) / MILLISECOND if response_time else None,
        response_time=response_time,
        request_headers=request_headers.text,
        request_body=given(request.body),
        request_encoding=request.transfer_encoding or request.transferEncoding or None,
        response_headers=response_headers.text if response else None,
        response_body=given(response.body) if response else None,
        response_encoding=(response.transfer_encoding or response.transferEncoding or None) if response else None,
        direction=event.direction,
        api_version=request.api_version or request.apiVersion,
        blocked_by=event.blocked_by or event.blockedBy,
    )


def _times(request: ApiRequest, response: ApiResponse | None, context: Context) -> tuple[datetime, datetime | None]:
    """When the call began and when it was answered, both with a zone or both without."""
    time = context.moment(request.time, "$.request.time")
    if response is None:
        return time, None
    if response.status is not None and not 0 <= response.status <= STATUS_MAX:
        raise invalid(f"status is not within 0 and {STATUS_MAX}", "$.response.status")
    if response.time is None:
        return time, None
    answered = context.moment(response.time, "$.response.time")
    if (answered.tzinfo is None) != (time.tzinfo is None):
        return in_utc(time), in_utc(answered)
    return time, answered


def _hides_token(event: Action | ApiCall, raw: Any) -> bool:
    """Whether a session token of null or nothing may have another one before it."""
    return (event.session_token in _EMPTY or event.sessionToken in _EMPTY) and names_two_tokens(raw)


def _cut(event: ApiCall, raw: Any, context: Context) -> dict[str, ApiRequest | ApiResponse]:
    """The sides whose bodies were cut, where the event was too large; raises `Refused` where it still is."""
    size = len(bytes(raw))
    if size <= context.event_bytes_max:
        return {}
    cut, size = cut_bodies(event, size, context.event_bytes_max)
    if size > context.event_bytes_max:
        reason = f"an event has at most {context.event_bytes_max} bytes, even with its bodies cut"
        raise Refused(TOO_LARGE, reason, path="$")
    return cut


def _rewritten(
    raw: Any,
    context: Context,
    captured: dict[str, Captured],
    cut: dict[str, ApiRequest | ApiResponse] | None,
) -> Raw:
    """The event with the stored forms of its credentials, and of bodies that were cut; the rest as sent."""
    members = members_of(raw)
    context.credentials.replace_tokens(members)
    for name, headers in captured.items():
        side = cut.get(name) if cut else None
        if not (side or headers.redacted):
            continue
        part = members_of(members[name])
        if headers.redacted and headers.text is not None:
            part["headers"] = headers.text
        if side:
            part.pop("transferEncoding", None)
            part |= {"body": side.body, "transfer_encoding": Raw(msgspec.json.encode(side.transfer_encoding))}
        members[name] = Raw(msgspec.json.encode(part))
    return Raw(msgspec.json.encode(members))


def _nameless(action: Action) -> Refused:
    if action.action_name is UNSET:
        return missing("action_name")
    return invalid(
        "action_name is empty" if action.action_name == "" else "Expected `str`, got `null`", "$.action_name"
    )


def path_of(uri: str) -> str:
    """The path of a full URI or of a bare path, without query and fragment; `/` where there is none."""
    uri = uri.partition("?")[0].partition("#")[0]
    scheme = uri.find("://")
    if 0 <= scheme < SCHEME_CHARS_MAX:
        slash = uri.find("/", scheme + 3)
        uri = uri[slash:] if slash >= 0 else "/"
    return uri or "/"


def given(raw: Raw) -> Raw | None:
    """The value, or None where it is null or was left out."""
    return None if bytes(raw) == NULL else raw


def valid_id(transaction_id: str) -> str:
    """An id that a row can be sorted by."""
    if len(transaction_id) > ID_CHARS_MAX:
        raise invalid(f"transaction_id is longer than {ID_CHARS_MAX} characters", "$.transaction_id")
    return transaction_id


def valid_weight(weight: float) -> int:
    """Absent, null and 0 count as 1 (contract 6.18), which the caller sees to."""
    whole = int(weight)
    if whole != weight or not 0 < whole < 2**32:
        raise invalid("weight is not a positive 32-bit integer", "$.weight")
    return whole


def object_or_empty(raw: Raw) -> Raw:
    """Free-form metadata must be an object, or null for "not given". PHP writes an empty object as `[]`."""
    text = bytes(raw)
    if text[:1] == b"{":
        return raw
    if text == NULL or (text[:1] == b"[" and not text[1:-1].strip()):
        return EMPTY_OBJECT
    raise invalid("Expected `object`", "$.metadata")
