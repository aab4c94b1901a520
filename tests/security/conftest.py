"""A server that is attacked. After each test it must answer as before; in the end its log output is looked at."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import TOKEN, AppOf, Server, until, write_apps
from tests.security.wire import Heard, one_answer, said

HEALTHY_WITHIN_S = 60.0
ACTION = b'{"action_name":"A","user_id":"u","request":{"uri":"https://x/y"}}'


class Target:
    """A server that is attacked, and what it logs."""

    def __init__(self, folder: Path) -> None:
        write_apps(folder / "data", ["default"])
        self.log = folder / "stderr"
        environment = {"CATCHMENT_INGEST__HTTP2": "true"}  # so that it is attacked, too
        self.server = Server(folder / "data", "--workers", "1", output=folder, environment=environment)
        self.app = AppOf(self.server, "default")
        self.secrets = {
            TOKEN,
            json.loads((folder / "data" / "run.json").read_text())["secret"],
            self.app.keys["moesif"]["application_id"],
            self.app.keys["batch"]["rest_api_key"],
            self.app.keys["moloco"]["api_key"],
        }

    def url(self, port: str) -> str:
        url: str = {"ingest": self.server.ingest, "console": self.server.console}[port]
        return url

    def request(self, port: str, fields: bytes, rest: bytes, *, line: bytes | None = None) -> bytes:
        """A POST that is allowed, with more fields, each with its line end, and what follows the head."""
        key = self.app.keys["moesif"]["application_id"].encode()
        own = b"X-Moesif-Application-Id: " + key if port == "ingest" else b"Authorization: Bearer " + TOKEN.encode()
        line = line or b"POST " + (b"/v1/actions" if port == "ingest" else b"/api/sql") + b" HTTP/1.1"
        return line + b"\r\nHost: localhost\r\n" + own + b"\r\n" + fields + b"\r\n" + rest

    def said(
        self,
        port: str,
        fields: bytes,
        rest: bytes,
        *,
        line: bytes | None = None,
        enough: Callable[[bytes], bool] = one_answer,
        closes: bool = False,
    ) -> Heard:
        """What it says to that request, see `wire.said`."""
        return said(self.url(port), self.request(port, fields, rest, line=line), enough=enough, closes=closes)

    def is_healthy(self) -> bool:
        for url in (self.server.ingest, self.server.console):
            if self.server.http.get(f"{url}/health/ready").status_code != 200:
                return False
        told = self.app.post("/v1/actions", ACTION, self.app.moesif_headers).status_code
        return told == 201 and self.server.sql("SELECT 7 AS n") == [{"n": 7}]


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    running = Target(tmp_path_factory.mktemp("attacked"))
    yield running
    assert running.server.stop() == 0
    logged = running.log.read_text()
    assert "Traceback" not in logged
    assert "ERROR" not in logged
    assert not [secret for secret in running.secrets if secret in logged]
    assert len(logged) < 10_000  # whatever anybody sends fills no disk


@pytest.fixture
def target(attacked: Target) -> Iterator[Target]:
    yield attacked
    until(attacked.is_healthy, within_s=HEALTHY_WITHIN_S)  # what was sent last may still keep it busy
