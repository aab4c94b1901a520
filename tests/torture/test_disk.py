"""The disk of a run, where it is only pretended to be full."""

import errno
from pathlib import Path

import pytest

from catchment.torture.control import Control, Dial
from catchment.torture.disk import NAMESPACE, PretendedDisk, open_disk


def test_where_nothing_may_be_mounted_the_writes_of_the_log_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(NAMESPACE, raising=False)
    control = Control(tmp_path / "control")
    disk = open_disk(tmp_path, 1 << 20, control)
    assert isinstance(disk, PretendedDisk)
    disk.fill()
    assert control[Dial.WRITE_ERROR] == errno.ENOSPC
    disk.empty()
    assert control[Dial.WRITE_ERROR] == 0


def test_what_is_kept_of_it_is_found_elsewhere(tmp_path: Path) -> None:
    disk = open_disk(tmp_path, 1 << 20, Control(tmp_path / "control"))
    (disk.path / "data").mkdir()
    disk.keep(tmp_path / "kept")
    disk.close()
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["data"]
