"""Moesif's dialect: the way of a call through it.

Bodies are JSON whatever their Content-Type says; an explicit null means "not given"; a batch is accepted whole or not
at all, and the error names the element. Each element is decoded twice by msgspec, once into its typed form and once
into its raw bytes, so that a record keeps it as sent; only an element that carries a credential is written anew, with
the credential's hash in its place, or one that is too large.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from catchment.dialects.dialect import Answer, Arrival, Call, Caller, Decoded, Route, one_line, require_utf8
from catchment.dialects.moesif.bounds import Bounds
from catchment.dialects.moesif.context import SOURCE, Grant, context_of
from catchment.dialects.moesif.credentials import Concealment, Credentials
from catchment.dialects.moesif.events import action_record, api_call_record
from catchment.dialects.moesif.faults import FAULTS, FORBIDDEN, NOT_ACCEPTABLE, UNAUTHORIZED, unfit
from catchment.dialects.moesif.governance import JSON_CORS, governance_of
from catchment.dialects.moesif.negotiation import accepts_json
from catchment.dialects.moesif.profiles import company_record, subscription_record, user_record
from catchment.dialects.moesif.shapes import Action, ApiCall, Company, Subscription, User
from catchment.errors import Refused
from catchment.keyring import Keyring
from catchment.record import Record
from catchment.settings import App, Limits, MoesifApp

KEY_HEADER = "x-moesif-application-id"
PROBE = Decoded([], Answer(200, JSON_CORS, b'{"status":true,"region":"self-hosted"}'))
ALLOWED_HEADERS = (
    *("content-type", "content-encoding", "idempotency-key", "if-none-match"),
    *(KEY_HEADER, "x-moesif-sdk"),
    *("x-request-id", "traceparent", "tracestate"),  # of whoever traces the page's own calls
)
PREFLIGHT = Answer(
    204,
    [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", "POST, GET, OPTIONS"),
        ("access-control-allow-headers", ", ".join(ALLOWED_HEADERS)),
        ("access-control-max-age", "86400"),
    ],
    b"",
)


class _Shape(NamedTuple):
    """How the elements of one resource are decoded, and what makes their records."""

    single: msgspec.json.Decoder[Any]
    batch: msgspec.json.Decoder[Any]
    record_of: Callable[..., Record]


def _shape(form: Any, record_of: Callable[..., Record]) -> _Shape:
    return _Shape(msgspec.json.Decoder(form), msgspec.json.Decoder(list[form]), record_of)


_SHAPES = {
    "actions": _shape(Action, action_record),
    "events": _shape(ApiCall, api_call_record),
    "users": _shape(User, user_record),
    "companies": _shape(Company, company_record),
    "subscriptions": _shape(Subscription, subscription_record),
}
_RAW_LIST: msgspec.json.Decoder[list[Raw]] = msgspec.json.Decoder(list[Raw])


class Moesif:
    """The dialect. `pseudonym` turns a credential into what is stored of it."""

    source = SOURCE
    owns = re.compile(r"/(?:.*/)?(?:v1(?:/.*)?|health/+probe/*)\Z", re.DOTALL)
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
        self._bounds = Bounds(limits.moesif_batch_elements_max, limits.json_values_max)
        self._event_bytes_max = limits.moesif_event_bytes_max
        callers: dict[str, Caller] = {}
        secret_headers = frozenset(credential_headers)
        concealed_headers = {name.lower() for name in secret_headers}
        for name, app in apps.items():
            if app.moesif:
                credentials = Credentials(pseudonym, secret_headers, app.moesif.session_headers)
                caller = Caller(name, _grant(name, app.moesif, credentials))
                callers |= dict.fromkeys(app.moesif.application_ids, caller)
                concealed_headers |= credentials.header_names
        self._callers = Keyring(callers.items())
        self._concealment = Concealment(pseudonym, concealed_headers)

    def authenticate(self, call: Call) -> Caller:
        """By `X-Moesif-Application-Id` alone (contract 1.1)."""
        key = call.headers.get(KEY_HEADER)
        caller = self._callers.find(key) if key else None
        if caller is None:
            what = "is missing" if not key else "is not an application id of this server"
            raise Refused(UNAUTHORIZED, f"X-Moesif-Application-Id {what}; `catchment keys` prints the right one")
        return caller

    def decode(self, endpoint: str, call: Call, caller: Caller, body: bytes, arrival: Arrival) -> Decoded:
        """`endpoint` is a resource in the plural, with `_batch` for arrays; or `config`, `rules`, `probe`."""
        if endpoint == "probe":
            return PROBE
        grant: Grant = caller.grant
        resource, batch, _ = endpoint.partition("_")
        document = grant.governance.documents.get(endpoint)
        if document is None and resource not in grant.resources:
            raise Refused(FORBIDDEN, f"this application takes no {resource}; its setting `resources` says what it does")
        accept = call.headers.get("accept")
        if accept is not None and not accepts_json(accept):
            raise Refused(NOT_ACCEPTABLE, "answers are application/json, which the Accept header leaves out")
        if document is not None:
            return Decoded([], document.answer(call.headers.get("if-none-match")))
        return Decoded(self._records(resource, call, grant, body, arrival, batch=bool(batch)), grant.governance.created)

    def conceal(self, body: bytes) -> bytes:
        """Replaces texts, and texts in arrays, that stand behind the name of a credential."""
        return self._concealment(body)

    def conceal_path(self, path: str) -> str:
        """There is no key in it."""
        return path

    def refuse(self, refused: Refused) -> Answer:
        """`{"moesif_error": {"code", "msg"}}` with CORS, or browsers send it again for ever (contract 5)."""
        fault = refused.fault
        message = f"{refused.reason} - at `{refused.path}`" if refused.path else refused.reason
        body = msgspec.json.encode({"moesif_error": {"code": fault.code, "msg": message}})
        return Answer(fault.status, JSON_CORS, body)

    def _records(
        self, resource: str, call: Call, grant: Grant, body: bytes, arrival: Arrival, *, batch: bool
    ) -> list[Record]:
        shape = _SHAPES[resource]
        try:
            require_utf8(body)
            body = one_line(body)
            self._bounds.require(body, resource, batch=batch)
            raws = _RAW_LIST.decode(body) if batch else [Raw(body.strip())]
            elements = shape.batch.decode(body) if batch else [shape.single.decode(body)]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise unfit(error) from None
        context = context_of(call, grant, body, arrival, event_bytes_max=self._event_bytes_max)
        record_of = shape.record_of
        records: list[Record] = []
        for index, (element, raw) in enumerate(zip(elements, raws, strict=True)):
            try:
                records.append(record_of(element, raw, context, index))
            except Refused as refused:
                if batch:
                    refused.path = f"$[{index}]" + refused.path.removeprefix("$")
                raise
        return records


def _routes(limits: Limits) -> tuple[Route, ...]:
    """A single API call may be as large as a batch, for its bodies are cut before it is refused (contract 6.23)."""
    single, profiles = limits.moesif_event_bytes_max, limits.moesif_profiles_batch_bytes_max
    events = limits.moesif_events_batch_bytes_max
    posts = {
        "actions": single,
        "actions_batch": limits.moesif_actions_batch_bytes_max,
        "events": max(single, events),
        "events_batch": events,
    }
    for resource in ("users", "companies", "subscriptions"):
        posts |= {resource: single, f"{resource}_batch": profiles}
    return (
        *(_route("POST", endpoint, "v1/" + endpoint.replace("_", "/"), size) for endpoint, size in posts.items()),
        _route("GET", "config", "v1/config", single),
        _route("GET", "rules", "v1/rules", single),
        _route("GET", "probe", "health/probe", single)._replace(open=True),
    )


def _route(method: str, endpoint: str, path: str, bytes_max: int) -> Route:
    """A base URL may have a prefix and doubled slashes (contract 6.27)."""
    pattern = re.compile("/(?:.*/)?" + path.replace("/", "/+") + r"/*\Z", re.DOTALL)
    return Route(method, endpoint, pattern, bytes_max, literals=(f"/{path}",))


def _grant(name: str, app: MoesifApp, credentials: Credentials) -> Grant:
    return Grant(
        name, app, frozenset(app.resources), timedelta(days=app.time_window_days), credentials, governance_of(name, app)
    )
