"""What the processes of the server ask of the system."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from catchment.parts import STACKS
from tests.conftest import Server, until

RAISED = """
import resource
from catchment.parts import allow_many_files
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
allow_many_files()
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""

STORMED = """
import signal
from catchment.supervisor import StopSignal
stop = StopSignal()
signal.signal(signal.SIGALRM, stop)
signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
for _ in range(20_000):
    stop._came = False
    stop.wait(0)
signal.setitimer(signal.ITIMER_REAL, 0)
"""

ORPHANED = """
import os, signal, time
from catchment import parts
def lost(number, frame):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.signal(signal.SIGTERM, lost)
parts.exit_with_parent(os.getpid())
time.sleep(100)
"""


def test_a_process_whose_parent_is_gone_ends_though_the_first_signal_is_lost() -> None:
    done = subprocess.run([sys.executable, "-c", ORPHANED], timeout=120)
    assert done.returncode == -signal.SIGTERM


def test_a_signal_that_comes_at_any_moment_is_no_deadlock() -> None:
    subprocess.run([sys.executable, "-c", STORMED], timeout=120, check=True)


def test_a_process_may_have_as_many_files_open_as_the_system_lets_it() -> None:
    done = subprocess.run([sys.executable, "-c", RAISED], capture_output=True, text=True, timeout=60, check=True)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert int(done.stdout) == (1 << 20 if hard == resource.RLIM_INFINITY else min(hard, 1 << 20))


@pytest.mark.parametrize("part", ["edge", "core"])
def test_a_part_that_is_asked_tells_where_it_stands_and_goes_on(tmp_path: Path, part: str) -> None:
    server = Server(tmp_path / "data", "--workers", "1", output=tmp_path)
    pid = server.parts(part)[0]
    os.kill(pid, STACKS)
    until(lambda: "(most recent call first)" in (tmp_path / "stderr").read_text(), within_s=60)
    assert server.parts(part)[0] == pid
    assert server.stop() == 0
