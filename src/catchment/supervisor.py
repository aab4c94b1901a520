"""`catchment serve`: keeps one edge group and one core running, and stops them in order.

The edge stops first, so that no request is cut off, then the core, which loads what is left in the log. A part that
dies is started again: the log carries over what it had accepted. The supervisor itself touches no event.
"""

import contextlib
import json
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import httpx

from catchment.log.disk import LocalDisk
from catchment.settings import Settings

LOCK_NAME = "serve.lock"
RUN_NAME = "run.json"
READY_WITHIN_S = 60.0
STOP_WITHIN_S = {"edge": 30.0, "core": 60.0}
RESTART_S_MIN, RESTART_S_MAX = 0.2, 10.0
_CALM_AFTER_S = 30.0
_POLL_S = 0.1
_CLAIM_WITHIN_S = 1.0

logger = logging.getLogger(__name__)


class CannotServe(Exception):
    """Why serving cannot start, and what to do."""


class _Part:
    """One child process that is started again when it dies."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        self.name = name
        self._command = command
        self._environment = environment
        self._delay = RESTART_S_MIN
        self.start()

    def start(self) -> None:
        self._started = time.monotonic()
        self._restart_at: float | None = None
        self.process = subprocess.Popen(  # noqa: S603
            self._command, env=self._environment, stdin=subprocess.DEVNULL, start_new_session=True
        )

    def revive(self) -> None:
        """Starts it again if it is dead, each time a little later while it keeps dying young."""
        if self.process.poll() is None:
            return
        now = time.monotonic()
        if self._restart_at is None:
            calm = now - self._started > _CALM_AFTER_S
            self._delay = RESTART_S_MIN if calm else min(self._delay * 2, RESTART_S_MAX)
            self._restart_at = now + self._delay
            logger.error("%s ended with %s; starting it again", self.name, self.process.returncode)
        elif now >= self._restart_at:
            self.start()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(STOP_WITHIN_S[self.name])
        except subprocess.TimeoutExpired:
            logger.error("%s did not stop within %.0f s and was killed", self.name, STOP_WITHIN_S[self.name])
            self.process.kill()
            return self.process.wait()


def serve(data_dir: Path, settings: Settings, announce: Callable[[str, str], None]) -> int:
    """Runs until SIGINT or SIGTERM; the exit code. `announce` gets both addresses once both parts are ready.

    Raises `CannotServe` where the data dir is in use, a port is taken, or a part does not come up.
    """
    lock = _claim(data_dir)
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    addresses = {
        "ingest": (settings.ingest.host, _free_port(settings.ingest.host, settings.ingest.port, "--port")),
        "console": (settings.console.host, _free_port(settings.console.host, settings.console.port, "--console-port")),
    }
    environment = _environment(settings, addresses)
    parts = [_start_part(name, data_dir, environment) for name in ("edge", "core")]
    try:
        tls = settings.ingest.tls_cert
        urls = {name: _url(host, port, tls=bool(tls)) for name, (host, port) in addresses.items()}
        _await_ready(parts, list(urls.values()), tls, stop)
        _write_run_file(data_dir, urls, tls)
        if not stop.is_set():
            announce(urls["ingest"], urls["console"])
        while not stop.wait(_POLL_S):
            for part in parts:
                part.revive()
    finally:
        codes = [part.stop() for part in parts]
        (data_dir / RUN_NAME).unlink(missing_ok=True)
        LocalDisk().unlock(lock)
    return 0 if set(codes) <= {0, -signal.SIGTERM} else 1  # one that was just starting dies of the signal


def running(data_dir: Path) -> dict[str, Any] | None:
    """The addresses of the server that holds `data_dir` (`ingest`, `console`, `pid`, `tls_cert`), or None."""
    try:
        lock = LocalDisk().try_lock(data_dir / LOCK_NAME)
    except FileNotFoundError:
        return None
    if lock is not None:
        LocalDisk().unlock(lock)
        return None
    try:
        run: dict[str, Any] = json.loads((data_dir / RUN_NAME).read_text("utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return run


def trust(tls_cert: str | None) -> ssl.SSLContext | bool:
    """How to verify our own server: against its very certificate, under whatever name it was reached."""
    if not tls_cert:
        return True
    context = ssl.create_default_context(cafile=tls_cert)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _claim(data_dir: Path) -> int:
    disk, deadline = LocalDisk(), time.monotonic() + _CLAIM_WITHIN_S
    while (lock := disk.try_lock(data_dir / LOCK_NAME)) is None and time.monotonic() < deadline:
        time.sleep(_POLL_S)  # another command may only be looking whether somebody holds it
    if lock is None:
        holder = (running(data_dir) or {}).get("pid", "unknown")
        raise CannotServe(
            f"{data_dir} is in use by a running Catchment (process {holder}); stop it, or choose another --data-dir"
        )
    return lock


def _free_port(host: str, port: int, option: str) -> int:
    """`port`, or a free one where it is 0. Raises `CannotServe` if it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = error.strerror or str(error)
            raise CannotServe(f"cannot listen on {host}:{port}: {reason}; choose another with {option}") from None
        chosen: int = probe.getsockname()[1]
        return chosen


def _environment(settings: Settings, addresses: dict[str, tuple[str, int]]) -> dict[str, str]:
    """What the parts must know beyond the file: the values that the command line gave."""
    given: dict[str, object] = {
        "CATCHMENT_INGEST__HOST": addresses["ingest"][0],
        "CATCHMENT_INGEST__PORT": addresses["ingest"][1],
        "CATCHMENT_INGEST__WORKERS": settings.ingest.workers,
        "CATCHMENT_CONSOLE__HOST": addresses["console"][0],
        "CATCHMENT_CONSOLE__PORT": addresses["console"][1],
    }
    if settings.ingest.tls_cert:
        given["CATCHMENT_INGEST__TLS_CERT"] = settings.ingest.tls_cert
        given["CATCHMENT_INGEST__TLS_KEY"] = settings.ingest.tls_key
    return os.environ | {name: str(value) for name, value in given.items()}


def _start_part(name: str, data_dir: Path, environment: dict[str, str]) -> _Part:
    return _Part(name, [sys.executable, "-m", "catchment", name, "--data-dir", str(data_dir)], environment)


def _url(host: str, port: int, *, tls: bool) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"{'https' if tls else 'http'}://{reachable}:{port}"


def _await_ready(parts: list[_Part], urls: list[str], tls_cert: str | None, stop: threading.Event) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    with httpx.Client(verify=trust(tls_cert), timeout=2, trust_env=False) as client:
        waiting = list(urls)
        while waiting and not stop.wait(_POLL_S):
            for part in parts:
                if part.process.poll() is not None:
                    raise CannotServe(f"{part.name} could not start (exit code {part.process.returncode}); see above")
            if time.monotonic() > deadline:
                raise CannotServe(f"not ready within {READY_WITHIN_S:.0f} s: {', '.join(waiting)}")
            with contextlib.suppress(httpx.HTTPError):
                if client.get(f"{waiting[0]}/health/ready").is_success:
                    waiting.pop(0)


def _write_run_file(data_dir: Path, urls: dict[str, str], tls_cert: str | None) -> None:
    run = {**urls, "pid": os.getpid(), "tls_cert": tls_cert}
    LocalDisk().replace(data_dir / RUN_NAME, json.dumps(run).encode())
