"""A reverse proxy that writes down every call, so that a test can say which calls a client made, and how often.

It passes requests and answers on as they are, and keeps a client's connection open for as long as the server would.
"""

import gzip
import http.client
import json
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}
DECODERS: dict[str, Callable[[bytes], bytes]] = {"": bytes, "gzip": gzip.decompress, "deflate": zlib.decompress}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@dataclass(frozen=True)
class Call:
    """One request and its answer. Names of headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    status: int
    answer_headers: dict[str, str]
    answer: bytes

    @property
    def json(self) -> Any:
        """The request's body, decompressed and parsed."""
        return json.loads(DECODERS[self.headers.get("content-encoding", "")](self.body))


class Proxy:
    """Stands in front of `upstream`; `calls` are those that it answered, in order of their answers.

    The answer to the next call of each path in `losses` is lost: the connection ends instead.
    """

    def __init__(self, upstream: str) -> None:
        self.calls: list[Call] = []
        self.losses: list[str] = []
        self._server = _Listener(urlsplit(upstream).netloc, self.calls, self.losses)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def made(self, method: str, path: str) -> list[Call]:
        """The calls of this method and path."""
        return [call for call in list(self.calls) if (call.method, call.path) == (method, path)]

    def tally(self) -> dict[str, int]:
        """How often each `METHOD /path` was called."""
        counts: dict[str, int] = {}
        for call in list(self.calls):
            counts[f"{call.method} {call.path}"] = counts.get(f"{call.method} {call.path}", 0) + 1
        return counts

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


@contextmanager
def proxy_to(upstream: str) -> Iterator[Proxy]:
    """A proxy for the time of the block."""
    proxy = Proxy(upstream)
    try:
        yield proxy
    finally:
        proxy.stop()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, upstream: str, calls: list[Call], losses: list[str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.calls = calls
        self.losses = losses


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client; each of its requests goes on over a connection of its own."""

    server: _Listener
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True  # the client went away, as clients do

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        behind = http.client.HTTPConnection(self.server.upstream, timeout=60)
        try:
            behind.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in _end_to_end(self.headers.items()):
                behind.putheader(name, value)
            behind.endheaders(body)
            answer = behind.getresponse()
            content = answer.read()
        finally:
            behind.close()
        self.server.calls.append(
            Call(
                method=self.command,
                path=self.path,
                headers={name.lower(): value for name, value in self.headers.items()},
                body=body,
                status=answer.status,
                answer_headers={name.lower(): value for name, value in answer.getheaders()},
                answer=content,
            )
        )
        if self.path in self.server.losses:
            self.server.losses.remove(self.path)
            self.close_connection = True
            return
        self.send_response_only(answer.status, answer.reason)
        for name, value in _end_to_end(answer.getheaders()):
            self.send_header(name, value)
        if answer.chunked:
            self.send_header("content-length", str(len(content)))
        if answer.will_close:
            self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the test reads `calls`."""


for _method in METHODS:
    setattr(_Handler, f"do_{_method}", _Handler._pass_on)


def _end_to_end(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name.lower() not in HOP_BY_HOP]
