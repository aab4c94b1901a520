"""A short run of all of it, as somebody types it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from catchment.torture.faults import FAULTS

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
