"""The dialect: one user event a call, through either door, and the trackers, which need no key."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec

from catchment.dialects.dialect import Answer, Arrival, Call, Caller, Decoded, Route, values_of
from catchment.dialects.moloco.content import content_faults
from catchment.dialects.moloco.events import SOURCE, event_record
from catchment.dialects.moloco.faults import DENIED, FAULTS, NO_PLATFORM, UNAUTHENTICATED, UNROUTED, invalid
from catchment.dialects.moloco.forms import SEGMENT_EVENT, USER_EVENT
from catchment.dialects.moloco.identity import identifiers_of
from catchment.dialects.moloco.protobuf import parsed
from catchment.dialects.moloco.trackers import TOUCHES, touch_record
from catchment.errors import Refused
from catchment.keyring import Keyring
from catchment.settings import App, Limits, MolocoApp

KEY_HEADER, PLATFORM_HEADER = "x-api-key", "x-platform-id"
SEGMENT_PATH = "/cdp/SEGMENT"
_USER_EVENT = re.compile(r"^/rmp/event/v1/platforms/(?P<platform>[^/]+)/userevents\Z")
_SEGMENT = re.compile(rf"^{SEGMENT_PATH}\Z")
_TRACKERS = {
    "impression": re.compile(r"^/t/i/(?P<platform>[^/]+)\Z"),
    "click": re.compile(r"^/t/c/(?P<platform>[^/]+)\Z"),
}
_TRACKER_BODY_BYTES_MAX = 1024  # it has none; a beacon may send a little
_FORMS = {"user_event": USER_EVENT, "segment": SEGMENT_EVENT}

JSON_HEADERS = [("content-type", "application/json")]
ACCEPTED = Answer(200, JSON_HEADERS, b"{}")
# Called from pages of any origin, and never to be answered from a cache. There is no redirect, so no open one.
TRACKED = Answer(200, [("cache-control", "no-store"), ("access-control-allow-origin", "*")], b"")


class Grant(NamedTuple):
    """What a key opens, and until when: a platform, under the rules of its application."""

    platform: str
    rules: MolocoApp
    expires_at: datetime | None = None


class Moloco:
    """The dialect. A key opens one platform, which is in the path, or in a header where the path has none."""

    source = SOURCE
    owns = re.compile(rf"^/(?:rmp/|t/[ic](?:/|\Z))|^{SEGMENT_PATH}(?:/|\Z)")
    key_header = KEY_HEADER
    faults = FAULTS
    conceal: Callable[[bytes], bytes] = staticmethod(bytes)  # no credentials in these bodies
    preflight: Answer | None = None  # the key is a secret, and a tracker call needs no preflight

    def __init__(self, apps: Mapping[str, App], limits: Limits) -> None:
        bytes_max = limits.moloco_body_bytes_max
        self.routes: tuple[Route, ...] = (
            Route("POST", "user_event", _USER_EVENT, bytes_max),
            Route("POST", "segment", _SEGMENT, bytes_max, (SEGMENT_PATH,)),
            *(
                Route(method, endpoint, pattern, _TRACKER_BODY_BYTES_MAX, open=True)
                for endpoint, pattern in _TRACKERS.items()
                for method in ("GET", "POST")
            ),
        )
        self._limits = limits
        served = [(name, app.moloco) for name, app in apps.items() if app.moloco]
        callers = [
            (key, Caller(name, grant, scope=grant.platform)) for name, rules in served for key, grant in _keys(rules)
        ]
        self._callers = Keyring((_opening(caller.scope, key), caller) for key, caller in callers)
        self._platforms = {platform: (name, rules) for name, rules in served for platform in rules.platforms}
        self._keys = Keyring((key, True) for key, _ in callers)

    def authenticate(self, call: Call) -> Caller:
        """By key and platform together; who has no key of this server learns of no platform (contract 6.16 to 6.18).

        Whether the key has expired is told by `decode`, which has the time.
        """
        key = call.headers.get(KEY_HEADER)
        platform = call.parameters.get("platform") or call.headers.get(PLATFORM_HEADER)
        if not key:
            raise Refused(UNAUTHENTICATED, "x-api-key is missing; `catchment keys` prints the right one")
        caller = self._callers.find(_opening(platform or "", key))
        if caller is not None:
            return caller
        known = self._keys.find(key)
        if known and not platform:
            raise Refused(NO_PLATFORM, "x-platform-id is missing; `catchment keys` prints the right one")
        if known and platform not in self._platforms:
            raise Refused(NO_PLATFORM, "the platform of the call is not one of this server's")
        raise Refused(DENIED, "x-api-key is not a key of this platform; `catchment keys` prints the right one")

    def decode(self, endpoint: str, call: Call, caller: Caller, body: bytes, arrival: Arrival) -> Decoded:
        """The one event of the call. Of a user event, JSON is judged before content (contract 3)."""
        if endpoint in TOUCHES:
            return self._touch(TOUCHES[endpoint], call, arrival)
        grant: Grant = caller.grant
        if grant.expires_at is not None and arrival.received_at >= grant.expires_at:
            raise Refused(DENIED, f"x-api-key has expired, at {grant.expires_at:%Y-%m-%dT%H:%M:%S%z}")
        if len(body) > self._limits.json_values_max and values_of(body) > self._limits.json_values_max:
            raise invalid(f"a body has at most {self._limits.json_values_max} JSON values", "$")
        raws, event = parsed(body, _FORMS[endpoint])
        identifiers = identifiers_of(event)
        for fault in content_faults(
            event,
            identified=identifiers.first is not None,
            latest_ms=(arrival.received_at.timestamp() + grant.rules.time_ahead_seconds) * 1000,
            id_chars_max=self._limits.moloco_id_chars_max,
        ):
            raise fault
        record = event_record(
            event,
            raws,
            body,
            app=caller.app,
            platform=grant.platform,
            identifiers=identifiers,
            call=call,
            arrival=arrival,
        )
        return Decoded([record], ACCEPTED)

    def conceal_path(self, path: str) -> str:
        """There is no key in it."""
        return path

    def refuse(self, refused: Refused) -> Answer:
        """The gateway's error body (contract 3): the message alone, for the path is in no documented one."""
        fault = refused.fault
        message = fault.name if fault in UNROUTED else refused.reason
        headers = [*JSON_HEADERS, ("www-authenticate", message)] if fault is UNAUTHENTICATED else JSON_HEADERS
        body = msgspec.json.encode({"code": fault.code, "message": message, "details": ()})
        return Answer(fault.status, headers, body)

    def _touch(self, name: str, call: Call, arrival: Arrival) -> Decoded:
        app, rules = self._platforms.get(call.parameters["platform"]) or ("", None)
        if rules is None or not rules.trackers:
            raise Refused(NO_PLATFORM, "the platform in the path is not one of this server's, or has no trackers")
        ahead = rules.time_ahead_seconds
        record = touch_record(name, app=app, call=call, arrival=arrival, time_ahead_seconds=ahead, limits=self._limits)
        return Decoded([record], TRACKED)


def _opening(platform: str, key: str) -> str:
    """Platform and key as one text: there is no space in either as they are configured, so no two make the same."""
    return f"{platform} {key}"


def _keys(rules: MolocoApp) -> list[tuple[str, Grant]]:
    lasting = [(key, Grant(platform, rules)) for platform, keys in rules.platforms.items() for key in keys]
    return lasting + [(key.key, Grant(key.platform, rules, key.expires_at)) for key in rules.expiring_keys]
