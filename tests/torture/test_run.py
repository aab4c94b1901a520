"""A short run of all of it, as somebody types it."""

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest

from catchment.torture import run as torture
from catchment.torture.faults import FAULTS, End, Fault, World
from catchment.torture.schedule import DUE_TRIES, Schedule
from tests.conftest import until
from tests.processes import command_lines

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
        until(lambda: b"under fire" in running.stderr.readline(), within_s=180)  # type: ignore[union-attr]
        running.send_signal(number)
        running.stderr.close()
        assert running.wait(180) == 130
    assert list(tmp_path.iterdir()) == []
    assert str(tmp_path) not in command_lines()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the folders of runs are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_fault_that_never_came_is_an_offence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = itertools.count(1)

    def missing(_: World) -> End | None:
        if next(tries) == DUE_TRIES:
            monkeypatch.setattr(torture, "MORE_S", 0.0)  # its time is over, however long it took until then
        return None

    never = Fault("never", "never", 1, (0, 1), missing)
    monkeypatch.setattr(torture, "Schedule", partial(Schedule, faults=[never]))
    outcome = torture.run(torture.Plan(1.0, SEED, hurry=3.0))
    [problem] = outcome.verdict.more
    assert problem.startswith("never: it never came, though it was tried ")
    assert not outcome.verdict.passed
    assert outcome.verdict.total().lost == 0
    assert outcome.folder == next(folder.iterdir())
    assert (outcome.folder / torture.KEPT_NAME / "data").is_dir()


def test_where_the_torturer_fails_what_it_saw_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the torturer fails")

    monkeypatch.setattr(Schedule, "step", fail)
    with pytest.raises(RuntimeError, match="the torturer fails"):
        torture.run(torture.Plan(1.0, SEED))
    [left] = folder.iterdir()
    assert str(left) in caplog.text
    assert (left / torture.OUTPUT_NAME).exists()
    assert (left / torture.KEPT_NAME / "data" / "catchment.toml").exists()
    assert str(left) not in command_lines()
