"""moesifpythonrequest, which captures a program's own calls with `requests`, finds Catchment as good as Moesif."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.clients.proxy import Proxy
from tests.clients.python_programs import Program
from tests.conftest import AppOf


class _Shop(BaseHTTPRequestHandler):
    """The API that the program calls."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/text":
            self._answer(200, "text/plain", b"plain text")
        else:
            self._answer(200, "application/json", b'{"item": 1}')

    def do_POST(self) -> None:
        self._answer(201, "application/json", b'{"order": ' + self._body() + b"}")

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["content-length"]))

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response_only(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def shop() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Shop)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_outgoing_calls_arrive(app: AppOf, proxy: Proxy, shop: str, tmp_path: Path) -> None:
    application_id = app.keys["moesif"]["application_id"]
    program = Program(tmp_path, "-m", "tests.clients.hosts.outgoing", proxy.url, application_id, shop)
    assert (program.end(), program.complaints, program.said) == (0, [], "")
    rows = {row["user_id"]: row for row in app.events(13)}

    first = rows["u1"]
    assert (first["name"], first["uri"], first["status"]) == ("GET /items/1", f"{shop}/items/1?x=1", 200)
    assert (first["direction"], first["company_id"], first["api_version"]) == ("Outgoing", "c1", "1.2")
    assert (first["properties"], first["weight"], first["late"]) == ({"region": "eu"}, 1, False)
    assert first["session_token"].startswith("hash:")
    assert (rows["u2"]["name"], rows["u2"]["status"]) == ("POST /orders", 201)
    assert (rows["u2"]["request_body"], rows["u2"]["response_body"]) == ('{"n": 2}', '{"order": {"n": 2}}')
    assert (rows["u3"]["response_body"], rows["u3"]["response_encoding"]) == ("plain text", "base64")
    assert "secret" not in str(rows)
    # One call for each that was captured, and the configuration once.
    assert proxy.tally() == {"GET /v1/config": 1, "POST /v1/events": 13}
    assert {call.status for call in proxy.calls} == {200, 201}


def test_an_event_sent_again_after_a_lost_answer_is_stored_once(
    app: AppOf, proxy: Proxy, shop: str, tmp_path: Path
) -> None:
    application_id = app.keys["moesif"]["application_id"]
    proxy.losses.append("/v1/events")
    program = Program(tmp_path, "-m", "tests.clients.hosts.outgoing", proxy.url, application_id, shop)
    assert (program.end(), program.complaints) == (0, [])
    assert "ConnectionError" in program.said, "the client did not notice"
    assert proxy.tally()["POST /v1/events"] == 14
    app.events(13)
