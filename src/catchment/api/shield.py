"""What every call to the console's port passes first, and what every answer carries.

A browser can be made to call any port of its machine. So a call must name this server in its `Host`: a page whose
name was pointed at this address (DNS rebinding) has another one. And what is answered can be put into no frame, run as
nothing, be read by no other origin and be kept in no cache.
"""

import ipaddress
from collections.abc import Iterable, Mapping

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
_MISDIRECTED = msgspec.json.encode(
    {"error": "this server is not asked under that name; add the name to `console.hosts` in catchment.toml"}
)
_LOCAL_NAMES = frozenset({"localhost"})


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

        if self._hosts.allows([value for name, value in scope["headers"] if name == b"host"]):
            await self._app(scope, receive, send_strictly)
            return
        kind = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_MISDIRECTED))]
        await send_strictly({"type": "http.response.start", "status": 421, "headers": kind})
        await send_strictly({"type": "http.response.body", "body": _MISDIRECTED})


class StrictProtocol(H11Protocol):
    """Uvicorn's own, whose answer to what is not HTTP has the strict headers too."""

    def send_400_response(self, msg: str) -> None:
        body = msgspec.json.encode({"error": msg})
        kind = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        fields = kind + headers(tls=self.config.is_ssl)
        for event in (
            h11.Response(status_code=400, headers=fields, reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


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
