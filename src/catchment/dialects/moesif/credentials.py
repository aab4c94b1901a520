"""What of Moesif's bodies is secret, and what is stored in its place: session tokens and credential headers.

A token is hashed without the scheme word it may have in a header (`Bearer`), so that the session of an API call, a
user and a company is the same whether it was given or found in a header. A captured `Authorization` keeps that word,
with the same hash behind it; of any other credential header the whole value is hashed. An element that has neither
stays as it was sent, and so does every other member of one that has. Where credentials are kept plain, all do.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw, UnsetType

from catchment.dialects.moesif.faults import members_of, value_of

TOKEN_MEMBERS = ("session_token", "sessionToken")
WITH_SCHEME = frozenset(("authorization", "proxy-authorization"))
USER_AGENT = "user-agent"
SIDES = ("request", "response")

_TOKEN_NAMES = tuple(b'"%b"' % name.encode() for name in TOKEN_MEMBERS)
_HEADERS_NAME = b'"headers"'
_SCHEME = re.compile(r"(?:bearer|token|basic|apikey)\s+(?=\S)", re.IGNORECASE)
_TEXT = re.compile(rb'"((?:[^"\\]|\\.)*)"?', re.DOTALL)
_ESCAPE = b"\\u"
_PAIR = 2
_ANY_TEXT = "\n"  # no credential has a line break
_CACHED_VALUES_MAX = 4096


class Captured(NamedTuple):
    """The headers of one side of an API call as stored, what was found in them, and whether anything was replaced."""

    text: Raw | None = None
    user_agent: str | None = None
    session: str | None = None
    redacted: bool = False


NOTHING = Captured()


def without_scheme(token: str) -> str:
    """`Bearer abc` and `abc` are one session."""
    found = _SCHEME.match(token)
    return token[found.end() :] if found else token


def names_secret(raw: Any) -> bool:
    """Whether a session token or headers may be in there."""
    text = bytes(raw)
    return _HEADERS_NAME in text or any(name in text for name in _TOKEN_NAMES)


def names_two_tokens(raw: Any) -> bool:
    """Whether a second session token, a null, may hide a first one, which the payload would keep."""
    text = bytes(raw)
    return sum(text.count(name) for name in _TOKEN_NAMES) > 1


class Credentials:
    """Of one application. `pseudonym` turns a credential into what is stored of it. The first of `session_headers`
    that a call has names its session, and so each of them is a credential. `replaces` is False where credentials are
    kept plain."""

    def __init__(
        self, pseudonym: Callable[[str], str], credential_headers: Iterable[str], session_headers: Iterable[str]
    ) -> None:
        self._session_headers = tuple(name.lower() for name in session_headers)
        self.header_names = frozenset(name.lower() for name in credential_headers) | set(self._session_headers)
        self._watched = self.header_names | {USER_AGENT}
        self.replaces = pseudonym(_ANY_TEXT) != _ANY_TEXT
        self._whole = pseudonym

        def hashed_token(given: str) -> str:
            return pseudonym(without_scheme(given))

        def hashed_behind_scheme(value: str) -> str:
            secret = without_scheme(value)
            return value[: len(value) - len(secret)] + pseudonym(secret)

        self._token = lru_cache(_CACHED_VALUES_MAX)(hashed_token)
        self._behind_scheme = lru_cache(_CACHED_VALUES_MAX)(hashed_behind_scheme)

    def token(self, given: str | UnsetType | None) -> str | None:
        """What is stored of a session token."""
        return self._token(given) if isinstance(given, str) and given else None

    def captured(self, headers: dict[str, Any] | None) -> Captured:
        """The headers of an API call, their credentials replaced in place."""
        if headers is None:
            return NOTHING
        user_agent: str | None = None
        sessions: dict[str, str | None] | None = None
        for name, value in headers.items():
            lower = name.lower()
            if lower not in self._watched or not value:
                continue
            if lower == USER_AGENT:
                user_agent = _first_text(value)
                continue
            if sessions is None:
                sessions = {}
            sessions.setdefault(lower, _first_text(value))
            headers[name] = self._header(lower, value)
        text = Raw(msgspec.json.encode(headers))
        if sessions is None:
            return Captured(text, user_agent)
        session = next((value for name in self._session_headers if (value := sessions.get(name))), None)
        return Captured(text, user_agent, session, self.replaces)

    def payload(self, raw: Any) -> Any:
        """The element with the hashes of its credentials in their place, and everything else as sent."""
        if not self.replaces:
            return raw
        members = members_of(raw)
        self.replace_tokens(members)
        for side in SIDES:
            part = members.get(side)
            if part is not None and bytes(part)[:1] == b"{":
                inner = members_of(part)
                headers = value_of(inner["headers"]) if "headers" in inner else None
                if isinstance(headers, dict) and self.captured(headers).redacted:
                    inner["headers"] = Raw(msgspec.json.encode(headers))
                    members[side] = Raw(msgspec.json.encode(inner))
        return Raw(msgspec.json.encode(members))

    def replace_tokens(self, members: dict[str, Raw]) -> None:
        """The session tokens of an element, in place."""
        for name in TOKEN_MEMBERS:
            value = value_of(members[name]) if name in members else None
            if value and self.replaces:
                members[name] = Raw(msgspec.json.encode(_each(self._token, value)))

    def _header(self, lower: str, value: Any) -> Any:
        replace = self._behind_scheme if lower in WITH_SCHEME else self._whole
        return replace(value) if type(value) is str else _each(replace, value)


class Concealment:
    """For refused bodies, which may not even be JSON. What stands behind the name of a credential is hashed as
    elsewhere, but for the scheme word, which goes with it.

    Texts are replaced where they stand, so that the body stays as it was sent. A body that is JSON is also looked
    through as such; where that finds more - a credential in an object, in a list of headers, under an escaped name -
    the body is written anew.
    """

    def __init__(self, pseudonym: Callable[[str], str], header_names: Iterable[str]) -> None:
        self._pseudonym = pseudonym
        self._with_scheme = WITH_SCHEME | {name.lower() for name in TOKEN_MEMBERS}
        self._names = {name.lower() for name in (*TOKEN_MEMBERS, *header_names)}
        names = b"|".join(re.escape(name.encode()) for name in sorted(self._names))
        text = rb'"(?:[^"\\]|\\.)*"?'
        self._credential = re.compile(
            rb'("(?P<name>' + names + rb')"\s*:\s*)(\[(?:' + text + rb'|[^\]"])*\]?|' + text + rb")",
            re.IGNORECASE | re.DOTALL,
        )

    def __call__(self, body: bytes) -> bytes:
        """The body with hashes in place of what can be told to be credentials."""
        in_place = self._credential.sub(self._replaced, body)
        try:
            concealed = self._tree(msgspec.json.decode(body))
            if _ESCAPE not in body and msgspec.json.decode(in_place) == concealed:
                return in_place
            return msgspec.json.encode(concealed)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return in_place

    def _replaced(self, found: re.Match[bytes]) -> bytes:
        name = found["name"].decode().lower()

        def conceal(text: re.Match[bytes]) -> bytes:
            return msgspec.json.encode(self._hash(name, text[1].decode("utf-8", "backslashreplace")))

        return found[1] + _TEXT.sub(conceal, found[3])

    def _tree(self, value: Any) -> Any:
        """A JSON value with its credentials hashed, wherever it names one."""
        if isinstance(value, dict):
            named = self._named(value.get("name"))
            return {
                key: self._hidden(inner_name, inner)
                if (inner_name := self._named(key) or (named if key == "value" else None))
                else self._tree(inner)
                for key, inner in value.items()
            }
        if isinstance(value, list):
            pair = self._named(value[0]) if len(value) == _PAIR else None
            return [value[0], self._hidden(pair, value[1])] if pair else [self._tree(part) for part in value]
        if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
            return self._json_text(value)
        return value

    def _json_text(self, text: str) -> str:
        try:
            inner = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError):
            return text
        concealed = self._tree(inner)
        return text if concealed == inner else msgspec.json.encode(concealed).decode()

    def _named(self, name: Any) -> str | None:
        """The credential that this is the name of, if any."""
        return name.lower() if isinstance(name, str) and name.lower() in self._names else None

    def _hidden(self, name: str, value: Any) -> Any:
        """All that stands behind a credential's name."""
        if isinstance(value, dict):
            return {key: self._hidden(name, inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._hidden(name, inner) for inner in value]
        if value is None or isinstance(value, bool) or value == "":
            return value
        return self._hash(name, value if isinstance(value, str) else str(value))

    def _hash(self, name: str, secret: str) -> str:
        return self._pseudonym(without_scheme(secret) if name in self._with_scheme else secret)


def _each(replace: Callable[[str], str], value: Any) -> Any:
    if isinstance(value, list):
        return [_each(replace, part) for part in value]
    return None if value is None else replace(value if isinstance(value, str) else str(value))


def _first_text(value: Any) -> str | None:
    """A header's value; of several, the first."""
    if isinstance(value, list):
        value = next((part for part in value if part), None)
    return value if isinstance(value, str) else None
