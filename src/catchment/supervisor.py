"""`catchment serve`: keeps one edge group and one core running, and stops them in order.

The edge stops first, so that no request is cut off, then the core, which loads what is left in the log. A part that
dies is started again: the log carries over what it had accepted. The supervisor itself touches no event.

Only the edge decides whether a start failed: what it accepts waits in the log. The core may take as long as it likes
to come up, and is started again from the beginning, unless it ends with a code that no waiting changes.

What stands in `run.json` is where a running server listens, and the secret of this run, by which commands on this
machine open the console's port; one that is there before the start was left by a server that was killed, whose parts
may need a moment to notice and end.
"""

import http.client
import json
import logging
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from catchment.addresses import listening_addresses, url_of
from catchment.certificate import FILE_NAME as TLS_NAME
from catchment.certificate import Certificate, UnusableCertificate
from catchment.errors import EXIT_FOR_GOOD, Cannot, CannotEver, CannotServe
from catchment.holding import SERVE_LOCK, hold, holder
from catchment.log.disk import LocalDisk
from catchment.parts import DRAIN_S, PARENT_PID, RUN_HASH, STACKS, ending, let_the_edge_go_first
from catchment.settings import Settings
from catchment.silence import SilenceWatch
from catchment.soundness import SoundnessWatch
from catchment.telemetry import files
from catchment.telemetry.supervision import Supervision
from catchment.tokens import new_token, token_hash
from catchment.watch import LOOK_S

RUN_NAME = "run.json"
PART_COMMAND = (sys.executable, "-m", "catchment")
EDGE_READY_WITHIN_S = 60.0
CORE_PATIENCE_S = 10.0  # then it is told that the core is not there yet; and again after
CORE_TOLD_EVERY_S = 60.0
STOP_WITHIN_S = {"edge": DRAIN_S + 10.0, "core": DRAIN_S + 40.0}  # the core's longest query comes on top
RESTART_S_MIN, RESTART_S_MAX = 0.2, 10.0
_CALM_AFTER_S = 30.0
_POLL_S = 0.1
_TELLS_WITHIN_S = 0.5
_ASK_S = 2.0
_CLAIM_WITHIN_S = 1.0
_ORPHANS_END_WITHIN_S = 5.0

logger = logging.getLogger(__name__)


class StopSignal:
    """A handler of signals, and whether one came. No `threading.Event`: a signal that comes while the thread that it
    interrupts holds the event's lock would wait for itself for ever."""

    def __init__(self) -> None:
        self._came = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self._came = True

    def wait(self, seconds: float) -> bool:
        """Whether one came by then, or before; it does not wait then."""
        if not self._came:
            time.sleep(seconds)
        return self._came


class _Part:
    """One child process that is started again when it dies."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], told: Supervision) -> None:
        self.name = name
        self._told = told
        self._command = command
        self._environment = environment
        self._delay = RESTART_S_MIN
        self._started = 0.0
        self._restart_at: float | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(  # noqa: S603
            self._command, env=self._environment, stdin=subprocess.DEVNULL, start_new_session=True
        )
        self._started = time.monotonic()
        self._restart_at = None
        if self.name == "core":
            with suppress(ProcessLookupError):  # it may have died already, which `revive` sees to
                let_the_edge_go_first(self.process.pid)

    def pid(self) -> int | None:
        """Of the process that was started last, if one was."""
        return self.process.pid if self.process else None

    def ended(self) -> int | None:
        """Its exit code, if it runs no more."""
        return None if self.process is None else self.process.poll()

    def try_start(self) -> bool:
        """Whether it was started; where the system has no room for another process, it is tried again later."""
        try:
            self.start()
        except OSError as error:
            self._put_off()
            logger.error("%s cannot be started now, and is tried again: %s", self.name, error.strerror)
            return False
        return True

    def revive(self) -> None:
        """Starts it again if it is dead, each time a little later while it keeps dying young or cannot be started."""
        code = self.ended()
        if self.process is not None and code is None:
            return
        if self._restart_at is None:
            self._put_off(calm=time.monotonic() - self._started > _CALM_AFTER_S)
            logger.error("%s %s; starting it again", self.name, ending(code or 0))
        elif time.monotonic() >= self._restart_at and self.try_start():
            self._told.restarted(self.name)

    def _put_off(self, *, calm: bool = False) -> None:
        self._delay = RESTART_S_MIN if calm else min(self._delay * 2, RESTART_S_MAX)
        self._restart_at = time.monotonic() + self._delay

    def stop(self, within_s: float) -> bool:
        """Ends it, and whether that went in order; one that is dead already has left its work in the log."""
        if self.process is None or self.ended() is not None:
            return True
        asked = time.monotonic()
        self.process.terminate()
        try:
            code = self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            logger.error("%s did not stop within %.0f s and is killed; where it stood:", self.name, within_s)
            os.killpg(self.process.pid, STACKS)  # its own processes, too
            time.sleep(_TELLS_WITHIN_S)
            os.killpg(self.process.pid, signal.SIGKILL)
            code = self.process.wait()
        if self.name == "edge" and time.monotonic() - asked >= DRAIN_S:
            logger.warning("edge: requests that were still being sent after %d s were cut off", DRAIN_S)
        return code in (0, -signal.SIGTERM)  # one that was just starting dies of the signal


def serve(
    data_dir: Path, settings: Settings, announce: Callable[[str, str], None], *, load: Callable[[], object]
) -> int:
    """Runs until SIGINT or SIGTERM; the exit code. `announce` gets both addresses once both parts are ready; `load`
    reads the settings as the next start will, and raises `ConfigError`.

    Raises `CannotServe` where the data dir is in use, a port is taken, or the edge does not come up, and `CannotEver`
    where a part said that no other try will help: a service manager need not try again either.
    """
    lock = _claim(data_dir)
    stop = StopSignal()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    addresses = listening_addresses(settings, patience_s=_ORPHANS_END_WITHIN_S if _forget_run(data_dir) else 0)
    secret = new_token()
    certificate, tls = _certificate(settings, data_dir)
    environment = _environment(settings, addresses, tls, run_hash=token_hash(secret))
    told = Supervision(data_dir / files.FOLDER)
    urls = {name: url_of(host, port, tls=bool(tls)) for name, (host, port) in addresses.items()}
    parts = [edge, core] = [_part(name, data_dir, environment, told) for name in ("edge", "core")]

    soundness = SoundnessWatch(data_dir, settings, load, lambda sound: told.settings_are(sound=sound))
    silence = SilenceWatch(lambda within_s: _ask(urls["console"], tls, within_s), core.pid)

    def complete() -> None:
        _write_run_file(data_dir, urls, tls, secret)
        try:
            announce(urls["ingest"], urls["console"])
        except OSError as error:  # nobody reads on, or the file that it goes to has no room
            what = "it runs, but its addresses could not be printed (%s); `catchment keys` tells what to send"
            logger.warning(what, error.strerror or type(error).__name__)
        silence.start()

    try:
        edge.start()
        core.try_start()
        coming = _Coming(core, urls, tls, complete)
        _await_edge(edge, coming, urls["ingest"], tls, stop=stop)
        look_at = 0.0
        while not stop.wait(_POLL_S):
            coming.look()
            for part in parts:
                part.revive()
            if time.monotonic() >= look_at:
                soundness.look()
                if certificate:
                    certificate.look()
                look_at = time.monotonic() + LOOK_S
        logger.info("stopping: finishing requests, then loading what is left in the log")
    finally:
        silence.stop()
        within_s = STOP_WITHIN_S | {"core": STOP_WITHIN_S["core"] + settings.sql.seconds_max}
        in_order = [part.stop(within_s[part.name]) for part in parts]
        _forget_run(data_dir)
        LocalDisk().unlock(lock)
    how = "" if all(in_order) else ", though not in order, see above; the next start loads what is left"
    logger.info("stopped%s. Everything that was accepted is on the disk", how)
    return 0 if all(in_order) else 1


def running(data_dir: Path) -> dict[str, Any] | None:
    """The addresses of the server that holds `data_dir` (`ingest`, `console`, `pid`, `tls_cert`) and the `secret` that
    opens its console's port, or None."""
    try:
        lock = LocalDisk().try_lock(data_dir / SERVE_LOCK)
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
    return _context(tls_cert) if tls_cert else True


def _context(tls_cert: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls_cert)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # a self-made certificate need not have every extension
    return context


def _claim(data_dir: Path) -> int:
    deadline = time.monotonic() + _CLAIM_WITHIN_S
    while (lock := hold(data_dir / SERVE_LOCK)) is None and time.monotonic() < deadline:
        time.sleep(_POLL_S)  # another command may only be looking whether somebody holds it
    if lock is None:
        raise CannotServe(
            f"{data_dir} is in use by a running Catchment ({holder(data_dir / SERVE_LOCK)}); stop it, or choose another"
            " --data-dir"
        )
    return lock


def _forget_run(data_dir: Path) -> bool:
    """Removes the file that tells where a server listens; whether there was one."""
    try:
        (data_dir / RUN_NAME).unlink()
    except FileNotFoundError:
        return False
    return True


def _not_started(name: str, code: int | None) -> Cannot:
    sentence = f"{name} could not start ({ending(code)}); see above"
    return CannotEver(sentence) if code in EXIT_FOR_GOOD else CannotServe(sentence)


def _certificate(settings: Settings, data_dir: Path) -> tuple[Certificate | None, str | None]:
    """The pair to watch, and the copy that the parts serve; a copy that is not used any more is removed."""
    cert, key, kept = settings.ingest.tls_cert, settings.ingest.tls_key, data_dir / TLS_NAME
    if not (cert and key):
        LocalDisk().remove(kept)
        return None, None
    certificate = Certificate(Path(cert).absolute(), Path(key).absolute(), kept)  # a link may turn
    try:
        certificate.take()
    except UnusableCertificate as error:
        raise CannotServe(f"ingest.{error.setting}: {error.reason}") from None
    except OSError as error:
        raise CannotServe(
            f"{kept} cannot be written: {error.strerror}; make room, or let this user write there"
        ) from None
    return certificate, str(kept.resolve())


def _environment(
    settings: Settings, addresses: dict[str, tuple[str, int]], tls: str | None, *, run_hash: str
) -> dict[str, str]:
    """What the parts must know beyond the file: the values that the command line gave."""
    console = settings.console
    given: dict[str, object] = {
        PARENT_PID: os.getpid(),
        RUN_HASH: run_hash,
        "CATCHMENT_INGEST__HOST": addresses["ingest"][0],
        "CATCHMENT_INGEST__PORT": addresses["ingest"][1],
        "CATCHMENT_INGEST__WORKERS": settings.ingest.workers,
        "CATCHMENT_CONSOLE__HOST": addresses["console"][0],
        "CATCHMENT_CONSOLE__PORT": addresses["console"][1],
    }
    if ":" not in console.host:  # the part only learns its address
        given["CATCHMENT_CONSOLE__HOSTS"] = json.dumps([*console.hosts, console.host])
    if tls:
        given["CATCHMENT_INGEST__TLS_CERT"] = given["CATCHMENT_INGEST__TLS_KEY"] = tls
    return os.environ | {name: str(value) for name, value in given.items()}


def _part(name: str, data_dir: Path, environment: dict[str, str], told: Supervision) -> _Part:
    return _Part(name, [*PART_COMMAND, name, "--data-dir", str(data_dir)], environment, told)


class _Coming:
    """The core until it answers for the first time; then `complete` is called, once."""

    def __init__(self, core: _Part, urls: dict[str, str], tls_cert: str | None, complete: Callable[[], None]) -> None:
        self._core = core
        self._urls = urls
        self._tls_cert = tls_cert
        self._complete = complete
        self._tell_at = time.monotonic() + CORE_PATIENCE_S
        self._late = self._there = False

    def look(self) -> None:
        """Asks whether it is there now. Raises `CannotEver` where it never will be."""
        if self._there:
            return
        self.require_hope()
        reason = self._why_not_there()
        if reason is None:
            self._there = True
            if self._late:
                logger.info("the core answers at %s now", self._urls["console"])
        elif time.monotonic() >= self._tell_at:
            self._late, self._tell_at = True, time.monotonic() + CORE_TOLD_EVERY_S
            logger.warning(
                "events are accepted at %s, but the core is not there yet: %s. What is accepted waits in the log until"
                " it is",
                self._urls["ingest"],
                reason,
            )

    def require_hope(self) -> None:
        """Raises `CannotEver` where the core said that no waiting would help; it told why."""
        code = self._core.ended()
        if code in EXIT_FOR_GOOD:
            raise _not_started("core", code)

    def revive(self) -> None:
        """Starts the core again if it is dead."""
        self.require_hope()
        self._core.revive()

    def _why_not_there(self) -> str | None:
        code = self._core.ended()
        if code is not None or self._core.process is None:
            return f"it {'cannot be started' if code is None else ending(code)}, see above, and is tried again"
        reason = _why_not_ready(self._urls["console"], self._tls_cert)
        if reason:
            return f"it runs, but does not answer at {self._urls['console']} ({reason})"
        try:
            self._complete()
        except OSError as error:  # a disk that is full for a moment, say
            return f"{RUN_NAME}, by which commands find it, cannot be written: {error.strerror}"
        return None


def _await_edge(edge: _Part, coming: _Coming, url: str, tls_cert: str | None, *, stop: StopSignal) -> None:
    deadline = time.monotonic() + EDGE_READY_WITHIN_S
    reason: str | None = "no answer yet"
    while reason and not stop.wait(_POLL_S):
        coming.revive()
        code = edge.ended()
        if code is not None:
            raise _not_started("edge", code)
        if time.monotonic() > deadline:
            raise CannotServe(f"{url} was not ready within {EDGE_READY_WITHIN_S:.0f} s: {reason}")
        reason = _why_not_ready(url, tls_cert)


def _why_not_ready(url: str, tls_cert: str | None) -> str | None:
    try:
        status = _ask(url, tls_cert, _ASK_S)
    except (OSError, http.client.HTTPException) as error:
        return str(error)
    return None if status == http.client.OK else f"HTTP {status}"


def _ask(url: str, tls_cert: str | None, within_s: float) -> int:
    """The status of an answer. Raises `OSError`, of it `TimeoutError` where none came in time, and `HTTPException`.

    Asked with the standard library: a client of more comfort takes longer to import than the edge to start."""
    scheme, _, address = url.partition("://")
    connection = http.client.HTTPConnection(address, timeout=within_s)
    try:
        if scheme == "https":
            connection = http.client.HTTPSConnection(address, timeout=within_s, context=_context(tls_cert))
        connection.request("GET", "/health/live")  # an edge in maintenance has started, though it is not ready
        return connection.getresponse().status
    finally:
        connection.close()


def _write_run_file(data_dir: Path, urls: dict[str, str], tls_cert: str | None, secret: str) -> None:
    run = {**urls, "pid": os.getpid(), "tls_cert": tls_cert, "secret": secret}
    LocalDisk().replace(data_dir / RUN_NAME, json.dumps(run).encode())
