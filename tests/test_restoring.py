"""The data dir of a restore while it is made: nobody else's data is ever removed, and no server starts in it.

What is restored is looked at in `test_backup.py`; here the store is left out, for what matters is the folder.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from catchment import config
from catchment.backup import making, manifest, restoring
from catchment.backup.manifest import BackupError
from catchment.backup.snapshot import Snapshot
from tests.conftest import catchment

WORK = config.RESTORING_NAME


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """Of a data dir with its settings only."""
    config.ensure_file(tmp_path / "old")
    taken = Snapshot("snapshot_x", "", {}, {}, {}, None, None)
    making.make(tmp_path / "old", tmp_path / "backup", lambda: taken, lambda _: lambda _: None)
    return tmp_path / "backup"


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store of the backup, which is none, is there."""
    monkeypatch.setattr(restoring, "_build", lambda *_: [])


def never(_: Path) -> Any:
    raise AssertionError("no store is to be opened")


def at(wanted: str, act: Callable[[], object]) -> Callable[[str, int], manifest.Advance]:
    """What begins the steps, and acts when that one begins."""

    def begin(step: str, _: int) -> manifest.Advance:
        if step == wanted:
            act()
        return lambda _: None

    return begin


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def served(data_dir: Path) -> None:
    """What a server has put there."""
    (data_dir / "log").mkdir(parents=True)
    (data_dir / "log" / "acknowledged").write_text("an event")
    (data_dir / config.FILE_NAME).write_text("# of a server")


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("step", ["checking", "copying"])
def test_no_server_starts_where_a_restore_is_under_way_also_while_it_only_reads(
    backup: Path, tmp_path: Path, step: str
) -> None:
    new, told = tmp_path / "new", list[str]()

    def serve() -> None:
        told.append(catchment("serve", "--port", "0", "--console-port", "0", data_dir=new, code=2))

    restoring.restore(backup, new, never, at(step, serve))
    assert "a restore into it was cut off, or is still under way; wait for it" in told[0]
    assert names(new) == {config.FILE_NAME}
    assert (new / config.FILE_NAME).read_bytes() == (backup / config.FILE_NAME).read_bytes()


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("there", [False, True])
def test_what_a_server_has_put_there_meanwhile_is_never_removed(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, there: bool
) -> None:
    new, read = tmp_path / "new", manifest.read
    if there:
        new.mkdir()

    def slow_read(path: Path) -> manifest.Manifest:
        served(new)
        return read(path)

    monkeypatch.setattr(manifest, "read", slow_read)
    with pytest.raises(BackupError, match="is not empty, and a restore never writes over anything"):
        restoring.restore(backup, new, never, at("", lambda: None))
    assert names(new) == {"log", config.FILE_NAME}
    assert (new / "log" / "acknowledged").read_text() == "an event"


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("step", ["checking", "copying"])
def test_what_came_there_before_the_end_is_neither_removed_nor_written_over(
    backup: Path, tmp_path: Path, step: str
) -> None:
    new = tmp_path / "new"
    with pytest.raises(BackupError, match="is not empty, and a restore never writes over anything"):
        restoring.restore(backup, new, never, at(step, lambda: served(new)))
    assert names(new) == {"log", config.FILE_NAME}
    assert (new / config.FILE_NAME).read_text() == "# of a server"


@pytest.mark.usefixtures("built")
def test_of_two_restores_at_once_one_is_refused_and_takes_nothing_from_the_other(backup: Path, tmp_path: Path) -> None:
    new, told = tmp_path / "new", list[str]()
    restoring.restore(
        backup, new, never, at("checking", lambda: told.append(catchment("restore", str(backup), data_dir=new, code=1)))
    )
    assert "holds a restore that was cut off, or is still under way; wait for it" in told[0]
    assert names(new) == {config.FILE_NAME}


@pytest.mark.usefixtures("built")
def test_of_two_restores_that_both_saw_an_empty_folder_one_is_refused(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, read = tmp_path / "new", manifest.read

    def slow_read(path: Path) -> manifest.Manifest:
        (new / WORK).mkdir(parents=True)
        (new / WORK / "theirs").touch()
        return read(path)

    monkeypatch.setattr(manifest, "read", slow_read)
    with pytest.raises(BackupError, match="is still under way"):
        restoring.restore(backup, new, never, at("", lambda: None))
    assert names(new / WORK) == {"theirs"}


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("there", [False, True])
def test_a_restore_that_fails_while_it_moves_takes_back_what_it_moved(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, there: bool
) -> None:
    new, rename = tmp_path / "new", Path.rename
    if there:
        new.mkdir()

    def fail(path: Path, to: Path) -> Path:
        if path.name == config.FILE_NAME and path.parent.name == WORK:
            (new / "another's").touch()
            raise OSError("the disk fails")
        return rename(path, to)

    (backup / "log" / "edge-0").mkdir(parents=True)
    (backup / "log" / "edge-0" / "x").touch()
    monkeypatch.setattr(manifest, "faults", lambda *_: iter(()))
    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="the disk fails"):
        restoring.restore(backup, new, never, at("", lambda: None))
    assert names(new) == {"another's"}


@pytest.mark.usefixtures("built")
def test_once_a_server_may_start_nothing_is_taken_back(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("the disk fails")

    monkeypatch.setattr("catchment.log.disk.LocalDisk.sync_folder", fail)
    with pytest.raises(OSError, match="the disk fails"):
        restoring.restore(backup, tmp_path / "new", never, at("", lambda: None))
    assert names(tmp_path / "new") == {config.FILE_NAME}


@pytest.mark.usefixtures("built")
def test_a_folder_that_was_there_before_stays_empty_and_one_that_was_not_goes(backup: Path, tmp_path: Path) -> None:
    shutil.copytree(backup, tmp_path / "damaged")
    (tmp_path / "damaged" / config.FILE_NAME).write_text("#")
    (tmp_path / "there").mkdir()
    for name in ("there", "new"):
        with pytest.raises(BackupError, match="is damaged"):
            restoring.restore(tmp_path / "damaged", tmp_path / name, never, at("", lambda: None))
    assert names(tmp_path / "there") == set()
    assert not (tmp_path / "new").exists()
