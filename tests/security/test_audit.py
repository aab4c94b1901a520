"""`scripts/audit.py` with the real pip-audit, against a server that speaks OSV's API."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "audit.py"
HASH = "--hash=sha256:" + "0" * 64
VULNERABILITY = {
    "id": "CVE-2099-0001",
    "summary": "It does what it should not.",
    "affected": [
        {
            "package": {"name": "bad-package", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}],
            "versions": ["1.0"],
        }
    ],
}


@pytest.fixture
def osv() -> Iterator[Callable[[int], str]]:
    """Starts a server that answers with this status; it knows of a vulnerability of `bad-package`. Gives its URL."""
    servers: list[ThreadingHTTPServer] = []

    def start(status: int) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                bad = asked["package"]["name"] == "bad-package"
                body = json.dumps({"vulns": [VULNERABILITY]} if bad else {}).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Is silent."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever).start()
        return f"http://127.0.0.1:{server.server_port}/v1/query"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def audited(tmp_path: Path, packages: list[str], url: str) -> tuple[int, str]:
    """Exit code and output."""
    file = tmp_path / "run.txt"
    file.write_text("".join(f"{package} {HASH}\n" for package in packages))
    command = [sys.executable, str(SCRIPT), "--requirements", str(file), "--osv-url", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout


def test_a_known_vulnerability_fails_and_is_named(tmp_path: Path, osv: Callable[[int], str]) -> None:
    told = audited(tmp_path, ["good-package==1.0", "bad-package==1.0"], osv(200))
    assert told == (1, "Known vulnerabilities:\n  bad-package 1.0: CVE-2099-0001, mended in: 1.1\n")


def test_packages_without_one_pass(tmp_path: Path, osv: Callable[[int], str]) -> None:
    told = audited(tmp_path, ["good-package==1.0", "other-package==2.0"], osv(200))
    assert told == (0, "No known vulnerability in 2 of 2 packages.\n")


@pytest.mark.parametrize("status", [404, 500, 503])
def test_a_service_that_fails_is_told_and_fails_nothing(tmp_path: Path, osv: Callable[[int], str], status: int) -> None:
    code, told = audited(tmp_path, ["bad-package==1.0"], osv(status))
    assert (code, told.startswith("Known vulnerabilities were not looked for")) == (0, True)


def test_no_service_at_all_is_told_and_fails_nothing(tmp_path: Path) -> None:
    code, told = audited(tmp_path, ["bad-package==1.0"], "http://127.0.0.1:9/v1/query")
    assert (code, told.startswith("Known vulnerabilities were not looked for")) == (0, True)
