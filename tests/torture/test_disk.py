"""The disk of a run, where it is only pretended to be full."""

import errno
import random
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest

from catchment.torture.control import Control, Dial
from catchment.torture.disk import NAMESPACE, LimitedDisk, PretendedDisk, open_disk
from catchment.torture.faults import FAULTS, World


def test_where_nothing_may_be_mounted_the_writes_of_the_log_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(NAMESPACE, raising=False)
    control = Control(tmp_path / "control")
    disk = open_disk(tmp_path, 1 << 20, control)
    assert isinstance(disk, PretendedDisk)
    assert disk.fill()
    assert control[Dial.WRITE_ERROR] == errno.ENOSPC
    disk.empty()
    assert control[Dial.WRITE_ERROR] == 0


def test_what_is_kept_of_it_is_found_elsewhere(tmp_path: Path) -> None:
    disk = open_disk(tmp_path, 1 << 20, Control(tmp_path / "control"))
    (disk.path / "data").mkdir()
    disk.keep(tmp_path / "kept")
    disk.close()
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["data"]


def test_a_disk_that_does_not_become_full_is_no_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mount(*arguments: str) -> None:
        if "remount" in " ".join(arguments):
            raise subprocess.CalledProcessError(32, "mount")

    monkeypatch.setattr("catchment.torture.disk._mount", mount)
    disk = LimitedDisk(tmp_path, 1 << 20)
    assert not disk.fill()
    world = World(cast(Any, None), cast(Any, None), disk, [], random.Random(7))
    [full] = [fault for fault in FAULTS if fault.name == "disk full"]
    assert full.begin(world) is None
