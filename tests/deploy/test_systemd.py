"""The units for systemd: they agree with the program, systemd understands them, and the backup's commands do it."""

import math
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from catchment.cli import commands
from catchment.errors import EXIT_FOR_GOOD
from catchment.settings import Settings
from catchment.settings.server import Ingest, Sql
from catchment.supervisor import STOP_WITHIN_S
from tests.clients.programs import systemd_analyze
from tests.conftest import Server, catchment

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
NAMES = ("catchment.service", "catchment-backup.service", "catchment-backup.timer")
PROGRAM = "/opt/catchment/bin/catchment"
DATA_DIR = "/var/lib/catchment"
BACKUPS = "/var/lib/catchment-backups"
EXPOSURE_MAX = 20  # tenths: what `systemd-analyze security` calls OK
STEPS = ("ExecStartPre", "ExecStart", "ExecStartPost")


def settings_of(name: str) -> list[tuple[str, str]]:
    """The assignments of a unit, in order."""
    lines = (UNITS / name).read_text("utf-8").splitlines()
    return [(key, value) for key, found, value in (line.partition("=") for line in lines) if found and key[0] != "#"]


def value(name: str, key: str) -> str:
    [found] = [text for known, text in settings_of(name) if known == key]
    return found


def shell_text(text: str) -> str:
    """What a shell gets of a line of a unit: systemd takes `$$` for `$` and `%%` for `%`."""
    assert "%" not in text.replace("%%", ""), "a specifier"
    assert "$" not in text.replace("$$", ""), "a variable of systemd"
    return text.replace("$$", "$").replace("%%", "%")


def calls(name: str) -> list[list[str]]:
    """The arguments of each call of the program in a unit."""
    found = []
    for key, text in settings_of(name):
        if key in STEPS and PROGRAM in text:
            command = shell_text(text)
            words = shlex.split(shlex.split(command)[-1] if command.startswith("/bin/sh") else command)
            found.append(words[words.index(PROGRAM) + 1 :])
    return found


@pytest.mark.parametrize("name", NAMES[:2])
def test_every_call_of_a_unit_is_one_that_the_command_line_takes(name: str) -> None:
    assert calls(name)
    for arguments in calls(name):
        commands.app.parse_args(arguments, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("name", NAMES[:2])
def test_each_folder_that_a_unit_names_is_one_that_it_may_write(name: str) -> None:
    writable = {f"/var/lib/{folder}" for folder in value(name, "StateDirectory").split()}
    commanded = " ".join(text for key, text in settings_of(name) if key in STEPS or key == "WorkingDirectory")
    assert set(re.findall(r"/var/lib/[a-z-]+", commanded)) <= writable
    assert value(name, "User") == value(name, "Group") == "catchment"
    assert value(name, "StateDirectoryMode") == "0700"


def test_it_is_started_again_unless_the_program_says_that_this_is_of_no_use() -> None:
    assert value("catchment.service", "Restart") == "on-failure"
    assert value("catchment.service", "RestartPreventExitStatus").split() == [str(code) for code in EXIT_FOR_GOOD]
    assert value("catchment.service", "StartLimitIntervalSec") == "0"


def test_it_is_given_more_time_to_stop_than_it_may_take() -> None:
    needed = sum(STOP_WITHIN_S.values()) + Sql().seconds_max
    assert float(value("catchment.service", "TimeoutStopSec")) > needed
    assert value("catchment.service", "KillMode") == "mixed"  # else the parts get the signal beside the supervisor


def test_it_may_open_as_many_files_as_it_may_have_connections() -> None:
    [bound] = [rule.le for rule in Ingest.model_fields["connections_max"].metadata if hasattr(rule, "le")]
    assert int(value("catchment.service", "LimitNOFILE")) > 4 * bound


def test_its_log_output_has_no_keys() -> None:
    name, _, given = value("catchment.service", "Environment").partition("=")
    section, field = name.removeprefix("CATCHMENT_").lower().split("__")
    kind = Settings.model_fields[section].annotation
    assert kind is not None
    assert getattr(kind(**{field: given}), field) == "json"


def test_the_units_keep_what_the_store_needs() -> None:
    """The store compiles expressions: a process that may not make memory executable fails each query from the third on
    that has the same one. Found by running the unit, and not to be put back by somebody who counts ticks."""
    for name in NAMES[:2]:
        assert "MemoryDenyWriteExecute" not in dict(settings_of(name))


@pytest.fixture
def analysed(tmp_path: Path) -> list[Path]:
    """The units as files that systemd looks at, with a program that is there."""
    systemd_analyze()
    for name in NAMES:
        (tmp_path / name).write_text((UNITS / name).read_text("utf-8").replace(PROGRAM, sys.executable))
    return [tmp_path / name for name in NAMES]


def test_systemd_finds_no_fault_with_the_units(analysed: list[Path]) -> None:
    done = subprocess.run(["systemd-analyze", "verify", *analysed], capture_output=True, text=True, timeout=60)
    ours = [line for line in done.stderr.splitlines() if "catchment" in line]
    assert not ours
    if done.returncode:
        pytest.skip(f"systemd-analyze cannot be used here: {done.stderr.strip()[-300:]}")


def test_systemd_calls_their_exposure_ok(analysed: list[Path]) -> None:
    for unit in analysed[:2]:
        command = [
            "systemd-analyze",
            "security",
            "--offline=true",
            f"--threshold={EXPOSURE_MAX}",
            "--no-pager",
            str(unit),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if "exposure level" not in done.stdout:
            pytest.skip(f"systemd-analyze cannot be used here: {done.stderr.strip()[-300:]}")
        assert done.returncode == 0, done.stdout[-200:]


def test_the_timer_s_time_is_one(analysed: list[Path]) -> None:
    assert analysed
    moment = value("catchment-backup.timer", "OnCalendar")
    subprocess.run(["systemd-analyze", "calendar", moment], check=True, capture_output=True, timeout=60)


def run_backup(server: Server, place: Path) -> "subprocess.CompletedProcess[str]":
    """The steps of the unit, one after another until one fails, with the folders of a test."""
    done = None
    for key in STEPS:
        for known, text in settings_of("catchment-backup.service"):
            if known == key and (done is None or done.returncode == 0):
                command = shell_text(text).replace(BACKUPS, str(place / "backups"))
                command = command.replace(DATA_DIR, str(server.data_dir)).replace(PROGRAM, str(place / "catchment"))
                environment = os.environ | {"KEEP": "3"}
                done = subprocess.run(
                    shlex.split(command), cwd=place, env=environment, capture_output=True, text=True, timeout=120
                )
    assert done is not None
    return done


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the command, and backups of other days."""
    program = tmp_path / "catchment"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m catchment "$@"\n')
    program.chmod(0o700)
    for day in range(1, 6):
        (tmp_path / "backups" / f"2020-01-0{day}T032000Z").mkdir(parents=True)
    (tmp_path / "backups" / "2020-01-06T032000Z.partial").mkdir()
    (tmp_path / "backups" / "of mine").mkdir()
    return tmp_path


def test_the_backup_unit_makes_a_sound_one_and_keeps_the_last(server: Server, place: Path) -> None:
    done = run_backup(server, place)
    assert done.returncode == 0, done.stderr
    kept = sorted(path.name for path in (place / "backups").iterdir())
    assert kept[:2] == ["2020-01-04T032000Z", "2020-01-05T032000Z"]
    assert kept[3:] == ["of mine"]
    newest = place / "backups" / kept[2]
    verified = subprocess.run([str(place / "catchment"), "backup", "verify", newest], capture_output=True, text=True)
    assert " is sound: " in verified.stdout
    restored = catchment("restore", str(newest), data_dir=place / "rehearsal")
    assert "Restored to" in restored


def test_the_backup_unit_removes_nothing_when_it_fails(server: Server, place: Path) -> None:
    (place / "catchment").write_text("#!/bin/sh\nexit 1\n")
    assert run_backup(server, place).returncode == 1
    assert len(list((place / "backups").glob("2020-*Z"))) == 5


def test_its_time_to_stop_is_what_docs_say() -> None:
    page = (UNITS.parents[1] / "docs" / "backup.md").read_text("utf-8")
    assert f"{math.ceil(sum(STOP_WITHIN_S.values()))} s and `sql.seconds_max`" in page
