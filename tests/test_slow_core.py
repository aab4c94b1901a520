"""A core that is late, or that cannot be started: the edge goes on, and says what is missing."""

import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from catchment.errors import EXIT_FOR_GOOD, CannotEver
from catchment.holding import CORE_LOCK, hold
from catchment.log.disk import LocalDisk
from tests.conftest import catchment, status, until, write_apps
from tests.ports import free_port
from tests.processes import alive, children, command_line
from tests.test_serve import Terminal, terminal
from tests.test_start import AppKeys, taken

WITHIN_S = 120.0
NOT_THERE = "but the core is not there yet: "


def core_of(shown: Terminal) -> int | None:
    """The process of the core, once there is one."""
    for pid in children(shown.process.pid):
        if "core" in command_line(pid):
            return pid
    return None


def killed_core(shown: Terminal) -> int:
    """The process of the core, after it was killed."""
    until(lambda: core_of(shown) is not None, within_s=WITHIN_S)
    core = core_of(shown)
    assert core
    os.kill(core, signal.SIGKILL)
    until(lambda: not alive(core), within_s=WITHIN_S)
    return core


def _held_store(data_dir: Path) -> Callable[[], None]:
    lock = hold(data_dir / CORE_LOCK)  # as a command has it that loads a large log
    assert lock is not None
    return lambda: LocalDisk().unlock(lock)


def _store_that_does_not_open(data_dir: Path) -> Callable[[], None]:
    metadata = data_dir / "store" / "metadata"
    metadata.parent.mkdir(mode=0o700)
    metadata.write_text("no folder")
    return lambda: shutil.rmtree(data_dir / "store")


@pytest.mark.parametrize("make", [_held_store, _store_that_does_not_open])
def test_the_edge_accepts_while_the_core_cannot_come_up_and_the_core_comes_when_it_can(
    tmp_path: Path, make: Callable[[Path], Callable[[], None]]
) -> None:
    write_apps(tmp_path, ["default"])
    key, port = AppKeys(tmp_path).moesif, free_port()
    url = f"http://127.0.0.1:{port}"
    mend = make(tmp_path)
    try:
        with terminal(tmp_path, "--port", str(port), "--console-port", "0") as shown:
            until(lambda: taken(shown, url, key), within_s=WITHIN_S)
            first = killed_core(shown) if make is _held_store else None
            until(lambda: NOT_THERE in shown.errors, within_s=WITHIN_S, otherwise=lambda: shown.errors)
            until(lambda: shown.errors.count("starting it again") >= (2 if first is None else 1), within_s=WITHIN_S)
            assert f"events are accepted at {url}, {NOT_THERE}" in shown.errors
            assert taken(shown, url, key)
            assert shown.printed == ""  # the addresses and keys come once both are there
            until(lambda: core_of(shown) not in (None, first), within_s=WITHIN_S)
            if make is _held_store:
                who = f"which process {os.getpid()} has open"
                until(lambda: who in shown.errors, within_s=WITHIN_S, otherwise=lambda: shown.errors)
            told = status(tmp_path, code=1)
            assert told.startswith("starting or stopping\n")
            assert " wait in the log, " in told
            mend()
            shown.await_ready()
            now = "INFO the core answers at "  # told after what is printed, and read by another thread
            until(lambda: now in shown.errors, within_s=WITHIN_S, otherwise=lambda: shown.errors)
            assert shown.printed.count("Catchment is running.") == 1
            told = catchment("sql", "SELECT count() > 1 AS a FROM events", "--format", "csv", data_dir=tmp_path)
            assert told in ("a\n1\n", "a\ntrue\n")
            assert taken(shown, url, key)
        assert shown.process.returncode == 0
    finally:
        with contextlib.suppress(OSError):  # it is mended
            mend()
    assert "Traceback" not in shown.errors


def test_a_core_whose_port_another_program_has_says_that_waiting_is_no_use(tmp_path: Path) -> None:
    write_apps(tmp_path, ["default"])
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        environment = {"CATCHMENT_CONSOLE__PORT": port}
        told = catchment("core", data_dir=tmp_path, code=CannotEver.exit_code, environment=environment)
    assert told == (f"cannot listen on 127.0.0.1:{port}: Address already in use; choose another with --console-port\n")
    assert CannotEver.exit_code in EXIT_FOR_GOOD


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no file that takes nothing")
def test_what_cannot_be_printed_is_told_once_and_holds_nothing_up(tmp_path: Path) -> None:
    write_apps(tmp_path, ["default"])
    command = [sys.executable, "-m", "catchment", "serve", "--data-dir", str(tmp_path), "--port", "0"]
    with (tmp_path / "errors").open("wb") as errors, Path("/dev/full").open("wb") as full:
        server = subprocess.Popen([*command, "--console-port", "0"], stdout=full, stderr=errors)
    try:
        until(lambda: "could not be printed" in (tmp_path / "errors").read_text(), within_s=WITHIN_S)
        written = (tmp_path / "run.json").stat()
        time.sleep(2.0)
        assert (tmp_path / "run.json").stat().st_ino == written.st_ino
        told = (tmp_path / "errors").read_text()
        assert told.count("could not be printed") == 1
        assert "cannot be written" not in told
    finally:
        server.terminate()
        server.wait(WITHIN_S)


def counted(data_dir: Path) -> str:
    return catchment("sql", "SELECT count() AS n FROM events", "--format", "csv", data_dir=data_dir)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="takes away what another process may open")
def test_a_system_without_room_for_another_process_costs_no_part_that_runs(tmp_path: Path) -> None:
    write_apps(tmp_path, ["default"])
    key, port = AppKeys(tmp_path).moesif, free_port()
    url = f"http://127.0.0.1:{port}"
    with terminal(tmp_path, "--port", str(port), "--console-port", "0") as shown:
        shown.await_ready()
        pid = shown.process.pid
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        opened = len(os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (opened, limits[1]))
        core = killed_core(shown)
        until(
            lambda: "core cannot be started now, and is tried again: " in shown.errors,
            within_s=WITHIN_S,
            otherwise=lambda: shown.errors,
        )
        assert taken(shown, url, key)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        until(lambda: core_of(shown) not in (None, core), within_s=WITHIN_S)
        until(lambda: counted(tmp_path) == "n\n1\n", within_s=WITHIN_S)
    assert shown.process.returncode == 0
    assert "Traceback" not in shown.errors
