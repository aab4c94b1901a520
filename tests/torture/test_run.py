"""A short run of all of it, as somebody types it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from catchment.torture.faults import FAULTS
from tests.conftest import until

SEED = 20261122
WITHIN_S = 400


def test_nothing_is_lost_double_or_unaccounted_for_when_all_goes_wrong_at_once(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "catchment",
        "torture",
        "--minutes",
        "0.4",
        "--seed",
        str(SEED),
        "--format",
        "json",
    ]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, env=environment)
    assert done.returncode == 0, done.stderr + done.stdout
    outcome = json.loads(done.stdout)
    assert outcome["passed"]
    assert outcome["total"]["acknowledged"] > 300
    assert outcome["total"]["found"] >= outcome["total"]["acknowledged"]
    assert outcome["total"]["difference"] == 0
    assert outcome["faults"].keys() == {fault.name for fault in FAULTS}
    assert all(outcome["faults"].values()), "each kind of fault came"
    assert outcome["retries"], "and was felt"
    assert list(tmp_path.iterdir()) == [], "nothing is left of it"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_whoever_ends_it_early_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "catchment", "torture", "--minutes", "5", "--seed", str(SEED)]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment) as running:
        assert running.stderr
        until(lambda: b"under fire" in running.stderr.readline(), within_s=90)  # type: ignore[union-attr]
        running.send_signal(number)
        running.stderr.close()
        assert running.wait(60) == 130
    assert list(tmp_path.iterdir()) == []
    listing = subprocess.run(["ps", "-axww", "-o", "args="], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in listing
