"""Runs a program that has one of Moesif's clients in it, and says what the client complained of."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import until

ROOT = Path(__file__).parents[2]
STARTS_WITHIN_S = 180.0
ENDS_WITHIN_S = 180.0
ANNOUNCED = '{"port": '

# With debugging on, these clients log as information what went wrong, in these words.
_WRONG = re.compile(
    r"(\[moesif\] )?(error|exception|unauthorized|can ?not|having difficulty|failed|expecting|to update)", re.IGNORECASE
)


class Program:
    """A running module of `tests.clients.hosts`, or another Python program."""

    def __init__(self, folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self._stdout, self._stderr = folder / "stdout", folder / "stderr"
        self.started_s = time.monotonic()
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", *arguments],
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=stderr,
                cwd=ROOT,
                env=os.environ | (environment or {}),
            )

    @property
    def said(self) -> str:
        """Its standard output so far."""
        return self._stdout.read_text()

    @property
    def logged(self) -> str:
        """Its standard error so far."""
        return self._stderr.read_text()

    @property
    def complaints(self) -> list[str]:
        """What its log has so far of warnings, errors, and of anything that is not a record of a log."""
        return [line for line in self.logged.splitlines() if _is_complaint(line)]

    def end(self) -> int:
        """Waits until it ends by itself; the exit code."""
        try:
            return self.process.wait(ENDS_WITHIN_S)
        finally:
            self.kill()

    def kill(self) -> None:
        """Ends it at once."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()


class Host(Program):
    """A web application with Moesif's middleware, and an HTTP client for it."""

    def __init__(self, folder: Path, module: str, url: str, application_id: str) -> None:
        super().__init__(folder, "-m", f"tests.clients.hosts.{module}", url, application_id)
        until(
            lambda: ANNOUNCED in self.said or self.process.poll() is not None,
            within_s=STARTS_WITHIN_S,
            otherwise=lambda: f"{module} did not start",
        )
        assert self.process.poll() is None, self.logged
        [line] = [line for line in self.said.splitlines() if line.startswith(ANNOUNCED)]
        self.url = f"http://127.0.0.1:{json.loads(line)['port']}"
        self.http = httpx.Client(base_url=self.url, trust_env=False, timeout=30)

    def get(self, path: str, **headers: str) -> httpx.Response:
        """GET with headers; `x_user` stands for `x-user`."""
        return self.http.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def kill(self) -> None:
        self.http.close()
        super().kill()


def _is_complaint(line: str) -> bool:
    try:
        record: dict[str, Any] = json.loads(line)
    except ValueError:
        return True
    return record["level"] >= 30 or (record["logger"].startswith("moesif") and bool(_WRONG.match(record["message"])))
