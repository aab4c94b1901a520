"""The parent of the edge processes: what it tells of one that ended, and that no signal finds it holding a lock."""

import inspect
import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from granian.constants import Interfaces
from granian.server.mp import MPServer

from catchment.edge_parent import EdgeParent
from catchment.edge_processes import _GRANIAN_LOGGING as GRANIAN_LOGGING
from catchment.parts import ending
from tests.conftest import Server, until
from tests.processes import alive
from tests.test_serve import certificate

__all__ = ["certificate"]  # a fixture

WITHIN_S = 120.0

# A handler that is called thousands of times a second meets the main loop at every place of it.
STORMED = """
import signal
from catchment.edge_group import EdgeGroup
from catchment.edge_parent import EdgeParent
group = %s("nothing", interface="rsgi")
signal.signal(signal.SIGALRM, group.signal_handler_interrupt)
signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
for _ in range(20_000):
    group.main_loop_interrupt.wait(0)
    group.main_loop_interrupt.clear()
signal.setitimer(signal.ITIMER_REAL, 0)
group.main_loop_interrupt.set()
assert group.main_loop_interrupt.wait()
assert group.interrupt_signal
"""


@pytest.mark.parametrize("parent", ["EdgeParent", "EdgeGroup"])
def test_a_signal_that_comes_at_any_moment_finds_no_lock_held(parent: str) -> None:
    subprocess.run([sys.executable, "-c", STORMED % parent], timeout=300, check=True)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_edge_process_that_ends_is_told_with_its_number_and_of_what(
    tmp_path: Path, certificate: tuple[str, str], scheme: str
) -> None:
    tls = ["--tls-cert", certificate[0], "--tls-key", certificate[1]] if scheme == "https" else []
    server = Server(tmp_path / "data", "--workers", "2", *tls, output=tmp_path)
    try:
        killed = server.parts("edge")[1]
        os.kill(killed, signal.SIGKILL)
        told = tmp_path / "stderr"
        line = f"ERROR edge: process {killed} was killed by SIGKILL; another one takes its place"
        until(lambda: line in told.read_text(), within_s=WITHIN_S, otherwise=told.read_text)
        until(lambda: not alive(killed) and len(server.parts("edge")) == 3, within_s=WITHIN_S)
        assert killed not in server.parts("edge")
    finally:
        assert server.stop() == 0
    assert not re.search(r"worker-\d", told.read_text())  # Granian's own line


def test_that_processes_end_again_and_again_is_told_in_our_words(caplog: pytest.LogCaptureFixture) -> None:
    granians = "Worker crash loop detected, exiting"
    assert granians in inspect.getsource(MPServer._serve_loop)
    parent = EdgeParent("nothing", interface=Interfaces.RSGI, log_dictconfig=GRANIAN_LOGGING)
    assert not parent.interrupt_signal
    logging.getLogger("_granian").error(granians)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["edge"]
    assert "all of them are stopped and started anew" in caplog.text


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (0, "ended with exit code 0"),
        (3, "ended with exit code 3"),
        (-signal.SIGSEGV, "was killed by SIGSEGV"),
        (-40, "was killed by signal 40"),
        (None, "ended"),
    ],
)
def test_of_what_a_process_ended_is_told_by_name_where_there_is_one(code: int | None, told: str) -> None:
    assert ending(code) == told
