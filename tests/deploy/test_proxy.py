"""nginx and Caddy in front of a real server, by the files of deploy/proxy: TLS ends at the proxy, the client's address
arrives and cannot be forged, and large bodies and long lines pass.

The files are used as they are but for names, ports and the certificate, which a test cannot have.
"""

import http.client
import json
import os
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from catchment.edge import memory
from catchment.settings import MIB, Limits
from catchment.settings.server import Ingest
from tests.clients import programs
from tests.conftest import AppOf, Server, until, write_apps
from tests.ports import free_port

FILES = Path(__file__).parents[2] / "deploy" / "proxy"
NAME = "events.example.com"
UPSTREAM = "127.0.0.1:8080"
CLIENT, FORGED = "127.0.0.5", "203.0.113.9"
LARGE_BYTES = 14_000_000


class Front(NamedTuple):
    """A proxy that runs, before a server that believes it."""

    app: AppOf
    port: int
    trust: ssl.SSLContext

    def call(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Over a connection of its own from `CLIENT`; status and body of the answer."""
        connection = http.client.HTTPConnection(NAME)  # which leads nowhere here; so where to connect is said below
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=60, source_address=(CLIENT, 0))
        connection.sock = self.trust.wrap_socket(plain, server_hostname=NAME)
        try:
            connection.request(method, path, body or None, self.app.moesif_headers | (headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def nginx(folder: Path, text: str, port: int) -> list[str]:
    """The command that runs nginx by the file, as the user that the test is."""
    text = text.replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
    text = re.sub(r"/etc/letsencrypt/live/\S+/(\w+\.pem)", rf"{folder}/\1", text)
    places = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user} daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; {places}\n{text}\n}}\n"
    )
    return [programs.nginx(), "-p", str(folder), "-c", str(folder / "nginx.conf")]


def caddy(folder: Path, text: str, port: int) -> list[str]:
    """The same of Caddy."""
    files = f"\ttls {folder}/fullchain.pem {folder}/privkey.pem\n"
    text = text.replace(f"{NAME} {{\n", f"https://{NAME}:{port} {{\n{files}")
    (folder / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + text)
    return [programs.caddy(), "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


PROXIES = {"nginx.conf": nginx, "Caddyfile": caddy}


@pytest.fixture(scope="module")
def believing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppOf]:
    """An application of a server that trusts the proxy, as docs/deploy.md has it."""
    data_dir = tmp_path_factory.mktemp("behind")
    write_apps(data_dir, ["default"])
    server = Server(data_dir, environment={"CATCHMENT_INGEST__TRUSTED_PROXIES": '["127.0.0.1"]'})
    yield AppOf(server, "default")
    assert server.stop() == 0


@pytest.fixture(scope="module", params=sorted(PROXIES))
def front(
    request: pytest.FixtureRequest, believing: AppOf, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Front]:
    folder, port = tmp_path_factory.mktemp("front"), free_port()
    authority = trustme.CA()
    certificate = authority.issue_cert(NAME)
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "fullchain.pem")
    certificate.private_key_pem.write_to_path(folder / "privkey.pem")
    text = (FILES / request.param).read_text("utf-8")
    assert text.count(UPSTREAM) == 1
    text = text.replace(UPSTREAM, believing.server.ingest.removeprefix("http://"))
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    with running(PROXIES[request.param](folder, text, port), folder, port):
        yield Front(believing, port, trust)


@contextmanager
def running(command: list[str], folder: Path, port: int) -> Iterator[None]:
    environment = os.environ | {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
    try:
        until(lambda: process.poll() is not None or listens(port), within_s=60)
        assert process.poll() is None, (folder / "output").read_text()
        yield
    finally:
        process.terminate()
        process.wait(60)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def action(name: str) -> bytes:
    return json.dumps({"action_name": name, "user_id": "u", "request": {"uri": "https://acme.com/"}}).encode()


def found(front: Front, name: str) -> dict[str, object]:
    query = "SELECT ip, properties.padding AS padding FROM events WHERE name = {name:String}"
    [row] = front.app.server.rows_when(1, query, name=name)
    return row


def test_the_client_s_address_arrives(front: Front) -> None:
    name = f"address {front.port}"
    assert front.call("POST", "/v1/actions", action(name))[0] == 201
    assert found(front, name)["ip"] == CLIENT


def test_it_cannot_be_forged(front: Front) -> None:
    name = f"forged {front.port}"
    assert front.call("POST", "/v1/actions", action(name), {"X-Forwarded-For": FORGED})[0] == 201
    assert found(front, name)["ip"] == CLIENT


def test_a_large_batch_gets_through(front: Front) -> None:
    name = f"large {front.port}"
    events = [
        json.loads(action(name)) | {"metadata": {"padding": "x" * 100_000}} for _ in range(LARGE_BYTES // 100_000)
    ]
    body = json.dumps(events).encode()
    assert len(body) > LARGE_BYTES
    assert front.call("POST", "/v1/actions/batch", body)[0] == 201
    front.app.server.rows_when(len(events), "SELECT 1 FROM events WHERE name = {name:String}", name=name)


@pytest.mark.parametrize("size", [300_000, LARGE_BYTES])
def test_why_a_large_body_was_refused_before_it_came_reaches_its_sender(front: Front, size: int) -> None:
    path, body = "/v1/actions", b" " * size
    for _ in range(6):
        status, answer = front.call("POST", path, body, {"X-Moesif-Application-Id": "not a key"})
        assert (status, b'"code":"unauthorized"' in answer) == (401, True), answer
    for _ in range(6 if size == LARGE_BYTES else 0):
        status, answer = front.call("POST", path, body)
        assert (status, b'"code":"payload_too_large"' in answer) == (413, True), answer


def test_the_bound_of_the_proxy_is_the_largest_that_the_server_takes() -> None:
    largest = memory.largest_body_bytes(Limits())
    assert re.findall(r"client_max_body_size (\d+)m;", (FILES / "nginx.conf").read_text()) == [str(largest // MIB)]
    assert re.findall(r"max_size (\d+)MiB", (FILES / "Caddyfile").read_text()) == [str(largest // MIB)]


def test_the_longest_line_of_a_tracker_gets_through(front: Front) -> None:
    platform = front.app.keys["moloco"]["platform"]
    query = "source=track-1&user_id=u-1&item_id=boots-9&timestamp=1772452190000&padding="
    path = f"/t/i/{platform}?{query}{'x' * (Limits().moloco_tracker_query_chars_max - len(query))}"
    status, answer = front.call("GET", path)
    assert status < 300, answer


def test_health_checks_pass(front: Front) -> None:
    assert front.call("GET", "/health/ready") == (200, b'{"status":"ok"}')


def test_a_proxy_lets_an_idle_connection_go_before_the_server_does() -> None:
    kept = [
        int(number)
        for file in PROXIES
        for number in re.findall(r"keepalive(?:_timeout)? (\d+)s", (FILES / file).read_text())
    ]
    assert len(kept) == len(PROXIES)
    assert max(kept) < Ingest().head_seconds_max
