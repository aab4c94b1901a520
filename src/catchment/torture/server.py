"""The server under torture: started, found in the table of processes, killed, started again, asked with SQL.

Only processes of this very data dir are ever signalled.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import httpx
import psutil
import tomlkit

from catchment import config
from catchment.settings import Settings
from catchment.tokens import new_token, token_hash
from catchment.torture.control import CONTROL_FILE, Control

APP = "default"
WORKERS = 2
READY_WITHIN_S = 90.0
STOP_WITHIN_S = 120.0
_START_PAUSE_S = 1.0  # as a service manager would
_POLL_S = 0.1
_FREE_BYTES = 8 * 1024 * 1024

Role = Literal["edge", "worker", "core", "server"]


class Process(NamedTuple):
    """One line of the table of processes."""

    pid: int
    parent: int
    command: str  # with a space on both sides of each word


class TorturedServer:
    """`catchment serve` on `data_dir`, with parts whose machine `control` can spoil; its output goes to `output`."""

    def __init__(self, data_dir: Path, control: Control, output: IO[bytes]) -> None:
        self.data_dir = data_dir
        self.starts = 0
        self._output = output
        scratch = control.file.with_name("tmp")  # what a part that is killed has left there goes with the run
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._environment = os.environ | {CONTROL_FILE: str(control.file), "TMPDIR": str(scratch)}
        self._ports = _free_ports()
        self._process: subprocess.Popen[bytes] | None = None
        self._start_at = 0.0
        token = new_token()
        write_settings(data_dir, token)
        self.settings = config.load(data_dir)
        self.ingest, self.console = (f"http://127.0.0.1:{port}" for port in self._ports)
        self._api = httpx.Client(
            base_url=self.console,
            headers={"authorization": f"Bearer {token}"},
            timeout=self.settings.sql.seconds_max + 10,
            trust_env=False,
        )

    def keep_running(self) -> None:
        """Starts it, unless it runs; not at once again where it ended by itself. To be called again and again."""
        if self._process is not None and self._process.poll() is None:
            self._start_at = time.monotonic() + _START_PAUSE_S
        elif time.monotonic() >= self._start_at:
            ingest, console = map(str, self._ports)
            command = [sys.executable, "-m", "catchment.torture.serve", "serve", "--data-dir", str(self.data_dir)]
            self._process = subprocess.Popen(  # noqa: S603
                [*command, "--port", ingest, "--console-port", console],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                start_new_session=True,
            )
            self.starts += 1
            self._start_at = time.monotonic() + _START_PAUSE_S

    def await_ready(self) -> bool:
        """Whether both parts answer, within a while; it is started again where it ends."""
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            self.keep_running()
            runs = self._process is not None and self._process.poll() is None
            if runs and all(_is_live(url) for url in (self.ingest, self.console)):
                return True
            time.sleep(_POLL_S)
        return False

    def processes(self, role: Role) -> list[int]:
        """Process ids: of the edge's parent, its workers, the core, or the supervisor."""
        mine = self._table()
        if role == "server":
            return [self._process.pid] if self._process and self._process.poll() is None else []
        part = "core" if role == "core" else "edge"
        named = [one for one in mine if f" catchment.torture.part {part} " in one.command]
        pids = {one.pid for one in named}
        return [one.pid for one in named if (one.parent in pids) == (role == "worker")]

    def send(self, pid: int, number: signal.Signals) -> bool:
        """Whether the process was still there, and still ours."""
        if all(one.pid != pid for one in self._table()):
            return False
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        if self._process is not None and pid == self._process.pid and number == signal.SIGKILL:
            self._process.wait()
        return True

    def stop(self) -> int | None:
        """SIGTERM, as a service manager would; the exit code, None where it did not end and was killed."""
        if self._process is None or self._process.poll() is not None:
            return None
        self._process.terminate()
        try:
            return self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.destroy()
            return None

    def destroy(self) -> None:
        """Nothing of it is left, whatever state it is in."""
        for _ in range(50):
            found = self._left()
            for pid in found:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if self._process is not None:
                self._process.poll()
            if not found:
                break
            time.sleep(_POLL_S)
        self._api.close()

    def sql(self, query: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """The rows of an answer. Raises `httpx.HTTPError`."""
        answer = self._api.post("/api/sql", json={"query": query, "parameters": parameters or {}})
        answer.raise_for_status()
        rows: list[dict[str, Any]] = answer.json()["rows"]
        return rows

    def unread_bytes(self) -> int | None:
        """What the core has not loaded yet; None where it does not answer."""
        try:
            answer = self._api.get("/api/status")
            answer.raise_for_status()
            return int(answer.json()["lag"]["unread_bytes"])
        except httpx.HTTPError:
            return None

    def _left(self) -> list[int]:
        """Process ids of all that is left of it."""
        return [one.pid for one in self._table()]

    def _table(self) -> list[Process]:
        """All processes of this data dir."""
        found = [
            Process(one.pid, one.info["ppid"], f" {' '.join(one.info['cmdline'] or ())} ")
            for one in psutil.process_iter(["ppid", "cmdline", "status"])
            if one.info["status"] != psutil.STATUS_ZOMBIE
        ]
        marked = f" --data-dir {self.data_dir} "
        return [one for one in found if marked in one.command and " catchment.torture." in one.command]


def write_settings(data_dir: Path, token: str) -> None:
    """A first configuration with this token of the console, with small segments, so that much happens in little time,
    and bounds out of the way."""
    document: Any = tomlkit.parse(config.first_file(token_hash(token)))
    document["ingest"] = {"workers": WORKERS}
    document["log"] = {"segment_bytes_max": 1024 * 1024, "free_bytes_min": _FREE_BYTES}
    document["sql"] = {"rows_max": 10_000_000, "seconds_max": 300}
    document["limits"] = {"unauthenticated_per_minute_max": 1_000_000, "rejections_per_minute_max": 1_000_000}
    data_dir.mkdir(mode=0o700, parents=True)
    (data_dir / config.FILE_NAME).write_text(tomlkit.dumps(document), "utf-8")


def keys_of(settings: Settings) -> dict[str, str]:
    """What the clients need: `application_id`, `rest_api_key`, `live`, `platform` and its `api_key`."""
    app = settings.apps[APP]
    assert app.moesif
    assert app.batch
    assert app.moloco
    platform, [api_key, *_] = next(iter(app.moloco.platforms.items()))
    return {
        "application_id": app.moesif.application_ids[0],
        "rest_api_key": app.batch.rest_api_keys[0],
        "live": app.batch.live[0],
        "platform": platform,
        "api_key": api_key,
    }


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        for one in (first, second):
            one.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def _is_live(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/live", timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def describe(error: httpx.HTTPError) -> str:
    """What a failed question says, with the server's own words."""
    if isinstance(error, httpx.HTTPStatusError):
        with suppress(ValueError, KeyError):
            return str(json.loads(error.response.text)["error"])
    return str(error) or repr(error)
