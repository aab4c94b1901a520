"""What every call to the console's port passes first, and what every answer carries.

A browser can be made to call any port of its machine. So a call must name this server in its `Host`: a page whose
name was pointed at this address (DNS rebinding) has another one. And what is answered can be put into no frame, run as
nothing, be read by no other origin and be kept in no cache.
"""

import ipaddress
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import h11
import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

STRICT_HEADERS: Mapping[str, str] = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
HSTS = ("strict-transport-security", "max-age=31536000")
_MISDIRECTED = "this server is not asked under that name; add the name to `console.hosts` in catchment.toml"
_LOCAL_NAMES = frozenset({"localhost"})

# Anybody can send what is no HTTP, as often as they like; a defect of ours is told still.
_quiet = logging.getLogger("uvicorn.error.wire")
_quiet.setLevel(logging.ERROR)


class Hosts:
    """Under which names this server may be asked."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = _LOCAL_NAMES | {name.lower().rstrip(".") for name in names}

    def allows(self, hosts: list[bytes]) -> bool:
        """Whether these are one `Host`, and it names this server. An IP address always does: no page has one as its
        name but the pages of that very address. None at all is for HTTP/1.0, which no browser speaks."""
        if not hosts:
            return True
        name = _without_port(hosts[0].decode("latin-1").strip())
        return len(hosts) == 1 and (name.lower().rstrip(".") in self._names or _is_address(name))


class Shield:
    """The application behind it gets the calls that name this server."""

    def __init__(self, app: ASGIApp, hosts: Hosts, *, tls: bool) -> None:
        self._app = app
        self._hosts = hosts
        self._headers = headers(tls=tls)
        self._names = frozenset(name for name, _ in self._headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_strictly(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = [(name, value) for name, value in message.get("headers", ()) if name.lower() not in self._names]
                message = {**message, "headers": [*given, *self._headers]}
            await send(message)

        names = {name for name, _ in scope["headers"]}
        if {b"content-length", b"transfer-encoding"} <= names:
            await _refuse(send_strictly, 400, "a body has a Content-Length or a Transfer-Encoding, not both")
        elif not self._hosts.allows([value for name, value in scope["headers"] if name == b"host"]):
            await _refuse(send_strictly, 421, _MISDIRECTED)
        else:
            await self._app(scope, receive, send_strictly)


class StrictProtocol(H11Protocol):
    """Uvicorn's own, but what is not HTTP is answered with the strict headers too, and fills no log."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.logger = _quiet

    def send_400_response(self, msg: str) -> None:
        body = msgspec.json.encode({"error": msg})
        fields = _closing(body) + headers(tls=self.config.is_ssl)
        for event in (
            h11.Response(status_code=400, headers=fields, reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


async def _refuse(send: Send, status: int, reason: str) -> None:
    body = msgspec.json.encode({"error": reason})
    await send({"type": "http.response.start", "status": status, "headers": _closing(body)})
    await send({"type": "http.response.body", "body": body})


def _closing(body: bytes) -> list[tuple[bytes, bytes]]:
    """The fields of an answer after which nothing that came on the connection is looked at."""
    length = b"%d" % len(body)
    return [(b"content-type", b"application/json"), (b"content-length", length), (b"connection", b"close")]


def headers(*, tls: bool) -> list[tuple[bytes, bytes]]:
    """The strict headers as ASGI has them."""
    given = [*STRICT_HEADERS.items(), *([HSTS] if tls else [])]
    return [(name.encode(), value.encode()) for name, value in given]


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
