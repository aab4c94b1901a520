"""Folders of which nothing more can be read: told once, kept in mind, tried again; and they hold up no other."""

import errno
import os
from collections import Counter
from pathlib import Path

import pytest

from catchment.log.disk import FileInfo
from catchment.log.held import RETRY_S
from catchment.log.patience import LaterFormat
from catchment.log.segment import group, header, segment_name
from catchment.settings import Log
from tests.log.contract import drain, line, records
from tests.log.disk import SimulatedDisk
from tests.log.test_recovery import EDGE, FIRST, ROOT, Machine, machine  # noqa: F401

OTHER = ROOT / "edge-1"
LATER = group(b'{"segment":{"version":2,"writer":"edge-0","sequence":1}}\n')


class CountingDisk(SimulatedDisk):
    """Counts what is read, and can lose the right to list a folder."""

    unlisted: Path | None = None

    def read(self, path: Path, offset: int, size: int) -> bytes:
        reads[path] += 1
        return super().read(path, offset, size)

    def files(self, path: Path) -> list[FileInfo]:
        if path == self.unlisted:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return super().files(path)


reads = Counter[Path]()


def with_later_format(machine: Machine) -> None:  # noqa: F811
    for folder, begin in ((EDGE, LATER), (OTHER, header("edge-1", 1))):
        machine.disk.make_folder(folder)
        machine.disk.create(folder / segment_name(1))
        machine.disk.spoil(folder / segment_name(1), begin + group(line(1)))


def test_it_is_told_once_and_the_others_are_read_and_then_found_empty(
    machine: Machine,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    with_later_format(machine)
    reader = machine.reader()
    assert reader.unreadable() == []
    assert drain(reader) == [line(1)]
    for _ in range(5):
        assert reader.read(1 << 20) is None
        [reason] = reader.unreadable()
        assert reason.startswith(f"{FIRST}: a later version of Catchment wrote it")
        machine.now += RETRY_S
    assert caplog.text.count("a later version") == 1
    assert reader.backlog().unread_bytes == len(machine.disk.content(FIRST))
    machine.disk.spoil(OTHER / segment_name(1), machine.disk.content(OTHER / segment_name(1)) + group(line(2)))
    assert drain(reader) == [line(2)]


def test_where_no_folder_can_be_read_reading_fails_with_the_reason(machine: Machine) -> None:  # noqa: F811
    with_later_format(machine)
    machine.disk.spoil(OTHER / segment_name(1), LATER)
    reader = machine.reader()
    for _ in range(3):
        with pytest.raises(LaterFormat, match="install that version"):
            reader.read(1 << 20)
        machine.now += RETRY_S / 2
    assert len(reader.unreadable()) == 2


def test_it_is_read_on_once_it_can_be_and_that_is_told(
    machine: Machine,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    with_later_format(machine)
    reader = machine.reader()
    drain(reader)
    machine.disk.spoil(FIRST, header("edge-0", 1) + group(line(7)))
    machine.now += RETRY_S
    assert drain(reader) == [line(7)]
    assert reader.unreadable() == []
    assert caplog.text.count("can be read again") == 1


def test_one_that_was_removed_is_forgotten(machine: Machine) -> None:  # noqa: F811
    with_later_format(machine)
    reader = machine.reader()
    drain(reader)
    machine.disk.rename(FIRST, ROOT / "away")
    machine.disk._names(ROOT).put(EDGE.name, None)
    assert reader.read(1 << 20) is None
    assert reader.unreadable() == []


def test_it_is_tried_now_and_then_and_not_at_each_read(machine: Machine) -> None:  # noqa: F811
    machine.disk = CountingDisk(machine.disk.chance)
    machine.disk.make_folder(ROOT.parent)
    with_later_format(machine)
    machine.disk.spoil(FIRST, header("edge-0", 1) + group(line(7)))
    machine.disk.make_unreadable(FIRST, 0)  # a read that fails may take the disk seconds
    reader = machine.reader()
    drain(reader)
    before = reads[FIRST]
    for _ in range(100):
        assert reader.read(1 << 20) is None
    assert reads[FIRST] == before
    machine.now += RETRY_S
    assert reader.read(1 << 20) is None
    assert reads[FIRST] == before + 1
    assert reader.unreadable() == [
        f"{FIRST}: Input/output error; it is tried again for 60 s, and nothing behind it in its folder is loaded until"
        " then"
    ]
    machine.disk.fail_no_more()
    machine.now += RETRY_S
    assert drain(reader) == [line(7)]


def test_one_that_cannot_be_listed_is_told_and_costs_no_figure_of_the_others(machine: Machine) -> None:  # noqa: F811
    disk = machine.disk = CountingDisk(machine.disk.chance)
    machine.disk.make_folder(ROOT.parent)
    with_later_format(machine)
    disk.unlisted = EDGE
    reader = machine.reader()
    batch = reader.read(1 << 20)
    assert records(batch) == [line(1)]
    assert reader.unreadable() == [f"{EDGE}: {os.strerror(errno.EACCES)}"]
    assert reader.backlog().unread_bytes == len(machine.disk.content(OTHER / segment_name(1)))
    assert reader.unread_records() == 1
    assert batch is not None
    reader.commit(batch)
    reader.tidy()
    assert reader.read(1 << 20) is None


def test_kept_segments_give_way_where_the_disk_is_short_though_one_folder_cannot_be_read(
    machine: Machine,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine.settings = Log(segment_bytes_max=4096, keep_loaded_hours=24)
    monkeypatch.setattr(machine.disk, "free_bytes", lambda path: 1 << 40)
    monkeypatch.setattr(machine.disk, "files", _young(machine.disk))
    with_later_format(machine)
    for sequence in (2, 3):
        machine.disk.create(OTHER / segment_name(sequence))
        machine.disk.spoil(OTHER / segment_name(sequence), header("edge-1", sequence) + group(line(sequence)))
    reader = machine.reader()
    assert drain(reader) == [line(1), line(2), line(3)]
    assert machine.files(OTHER) == [segment_name(number) for number in (1, 2, 3)]
    monkeypatch.setattr(machine.disk, "free_bytes", lambda path: 0)
    machine.now += 10
    assert reader.read(1 << 20) is None
    assert machine.files(OTHER) == [segment_name(3)]


def _young(disk: SimulatedDisk) -> object:
    files = disk.files
    return lambda path: [info._replace(changed_at=4e9) for info in files(path)]
