"""What the log still takes on the disk: segments go once they are loaded and sound, also where little or nothing comes,
and what stays is told in parts."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from catchment.log.disk import LocalDisk
from catchment.log.reader import SegmentReader
from catchment.log.removal import NEWEST_HOURS
from catchment.log.segment import group, segment_name
from catchment.log.writer import SegmentWriter
from catchment.settings import Log
from tests.log.contract import drain, line, records
from tests.log.test_recovery import EDGE, FIRST, Machine, machine  # noqa: F401
from tests.log.test_segments import Segments

HOUR_S = 3600


async def test_a_segment_ends_when_it_is_a_day_old_though_little_arrives(machine: Machine) -> None:  # noqa: F811
    writer = machine.writer()
    for day in range(3):
        await machine.append(writer, line(day))
        machine.now += 24 * HOUR_S
    assert drain(machine.reader()) == [line(0), line(1), line(2)]
    assert machine.files() == [segment_name(3)]


async def test_the_segment_of_a_living_writer_to_which_nothing_comes_is_sealed_and_removed(
    machine: Machine,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("catchment.log.writer.IDLE_LOOK_S", 0.001)
    writer, reader = machine.writer(), machine.reader()
    await machine.append(writer, line(1))
    drain(reader)
    writer.commit_waiting()
    reader.tidy()
    assert machine.files() == [segment_name(1)], "it may be written to"
    machine.now += 24 * HOUR_S
    writer.commit_waiting()
    reader.tidy()
    assert machine.files() == [segment_name(1)], "its seal was not read yet"
    drain(reader)
    reader.tidy()
    assert machine.files() == []
    await machine.append(writer, line(2))
    assert machine.files() == [segment_name(2)]
    assert drain(reader) == [line(2)]


async def test_the_newest_segment_of_a_folder_that_nobody_writes_in_is_removed_and_sequences_go_on(
    machine: Machine,  # noqa: F811
) -> None:
    writer = machine.writer()
    await machine.append(writer, line(1))
    machine.disk.crash()
    reader = machine.reader()
    assert drain(reader) == [line(1)]
    reader.tidy()
    assert machine.files() == []
    await machine.append(machine.writer(), line(2))
    assert machine.files() == [segment_name(2)]
    assert drain(machine.reader()) == [line(2)]


async def test_what_is_not_read_yet_is_not_removed(machine: Machine) -> None:  # noqa: F811
    await machine.append(machine.writer(), line(1))
    machine.disk.crash()
    reader = machine.reader()
    reader.tidy()
    batch = reader.read(1 << 20)
    reader.tidy()
    assert records(batch) == [line(1)]
    assert machine.files() == [segment_name(1)]


async def test_a_newest_segment_stays_while_somebody_may_begin_to_write(tmp_path: Path) -> None:
    segments = Segments(tmp_path)
    writer = segments.writer()
    await writer.append(line(1))
    await writer.close()
    reader = segments.reader()
    drain(reader)
    reader.tidy()
    assert segments.files() == [segment_name(1)]
    hour_ago = time.time() - NEWEST_HOURS * HOUR_S - 1
    os.utime(tmp_path / "edge-0" / segment_name(1), (hour_ago, hour_ago))
    reader.tidy()
    assert segments.files() == []


# A torn tail in a folder that nobody writes in


async def test_a_torn_tail_is_no_backlog_and_its_segment_goes(machine: Machine) -> None:  # noqa: F811
    await machine.append(machine.writer(), line(1))
    torn = group(line(2))[:-7]
    machine.disk.spoil(FIRST, machine.disk.content(FIRST) + torn)
    machine.disk.crash()
    reader = machine.reader()
    assert reader.backlog().unread_bytes > len(torn), "nobody has looked yet"
    drain(reader)
    assert reader.backlog().unread_bytes == 0
    reader.tidy()
    [kept] = machine.files()
    assert kept.endswith(".torn")
    assert machine.disk.content(EDGE / kept) == torn
    assert reader.backlog()[:4] == (0, 0, len(torn), 1)


async def test_a_group_whose_rest_comes_later_is_backlog_then(machine: Machine) -> None:  # noqa: F811
    writer = machine.writer()
    await machine.append(writer, line(1))
    before = machine.disk.content(FIRST)
    machine.disk.spoil(FIRST, before + group(line(2))[:-7])
    reader = machine.reader()
    drain(reader)
    reader.tidy()
    assert machine.files() == [segment_name(1)], "somebody holds its lock"
    machine.disk.spoil(FIRST, before + group(line(2)))
    assert reader.backlog().unread_bytes == len(group(line(2)))
    assert drain(reader) == [line(2)]


async def test_damage_at_the_end_of_a_folder_that_nobody_writes_in_is_told_and_kept(
    machine: Machine,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    writer = machine.writer()
    for number in range(3):
        await machine.append(writer, line(number))
    size = len(machine.disk.content(FIRST))
    machine.disk.spoil(FIRST, machine.disk.content(FIRST).replace(line(1), line(7)).replace(line(2), line(8)))
    machine.disk.crash()
    reader = machine.reader()
    assert drain(reader) == [line(0)]
    for _ in range(3):
        reader.tidy()
    assert caplog.text.count("are damaged") == 1
    assert segment_name(1) in machine.files()
    assert reader.backlog()[0] == 0
    assert reader.backlog().aside_bytes >= size
    assert reader.backlog().aside_files == 2, "the segment and its note"


# The clock


async def test_loaded_segments_go_when_their_hours_are_over_though_nothing_is_loaded(tmp_path: Path) -> None:
    segments, reader = await _loaded(tmp_path, Log(segment_bytes_max=4096, keep_loaded_hours=2))
    before = segments.files()
    reader.tidy()
    assert segments.files() == before
    _change_at(tmp_path, time.time() - 2 * HOUR_S - 1)
    reader.tidy()
    assert segments.files() == []


@pytest.mark.parametrize("years", [20, -20])
async def test_a_clock_that_jumps_keeps_no_loaded_segment_for_longer_and_removes_none_that_is_not(
    tmp_path: Path, years: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    segments, _ = await _loaded(tmp_path, Log(segment_bytes_max=4096, keep_loaded_hours=2))
    before = segments.files()
    late = segments.writer()
    await late.append(line(999))  # in the folder of another day, and not loaded
    reader = SegmentReader(LocalDisk(), tmp_path, segments.settings, clock=lambda: now)
    jumped = time.time() + years * 365 * 24 * HOUR_S
    monkeypatch.setattr("catchment.log.removal.time.time", lambda: jumped)
    reader.tidy()
    now += 2 * HOUR_S
    reader.tidy()
    assert segments.files() == [*before[-1:], segment_name(len(before) + 1)], (
        "that of the position stays, and the newer"
    )
    await late.close()
    assert records(reader.read(1 << 20)) == [line(999)]


async def test_a_segment_stays_its_hours_from_when_it_was_done_with_however_often_it_was_looked_at(
    tmp_path: Path,
) -> None:
    now = 0.0
    settings = Log(keep_loaded_hours=24, segment_hours_max=24, free_bytes_min=0)
    disk, loop = LocalDisk(), asyncio.get_running_loop()
    writer = SegmentWriter(disk, tmp_path, settings, loop=loop, clock=lambda: now, background=False)
    reader = SegmentReader(disk, tmp_path, settings, clock=lambda: now)

    async def put(number: int) -> None:
        future = writer.append(line(number))
        writer.commit_waiting()
        await future
        assert drain(reader) == [line(number)]

    def segments() -> list[str]:
        return [path.name for path in sorted((tmp_path / "edge-0").glob("*.ndjson"))]

    for at in range(24):
        now = at * HOUR_S
        await put(at)
        reader.tidy()  # which looks at the newest segment, while it is still written to
    for hour, left in ((24.3, [1, 2]), (46.9, [1, 2]), (48.5, [2, 3])):
        now = hour * HOUR_S
        await put(round(hour * 10))
        reader.tidy()
        assert segments() == [segment_name(number) for number in left], hour
    await writer.close()


async def test_a_segment_that_waits_to_be_loaded_is_not_taken_for_one_that_is_done_with(tmp_path: Path) -> None:
    now = 0.0
    settings = Log(keep_loaded_hours=24, free_bytes_min=0)
    writer = SegmentWriter(LocalDisk(), tmp_path, settings, loop=asyncio.get_running_loop())
    reader = SegmentReader(LocalDisk(), tmp_path, settings, clock=lambda: now)
    await writer.append(line(1))
    assert drain(reader) == [line(1)]
    await writer.append(line(2))
    await writer.close()
    reader.tidy()
    now = 30 * HOUR_S  # in which the store was away
    assert drain(reader) == [line(2)]
    reader.tidy()
    assert (tmp_path / "edge-0" / segment_name(1)).exists()
    now += 24 * HOUR_S
    reader.tidy()
    assert not (tmp_path / "edge-0" / segment_name(1)).exists()


async def _loaded(root: Path, settings: Log) -> tuple[Segments, SegmentReader]:
    segments = Segments(root, settings)
    writer = segments.writer()
    for number in range(300):
        await writer.append(line(number))
    await writer.close()
    reader = segments.reader()
    drain(reader)
    return segments, reader


def _change_at(root: Path, moment: float) -> None:
    for path in (root / "edge-0").glob("*.ndjson"):
        os.utime(path, (moment, moment))


# What is told


async def test_the_parts_of_the_log_add_up_to_what_is_on_the_disk(tmp_path: Path) -> None:
    segments, reader = await _loaded(tmp_path, Log(segment_bytes_max=4096, keep_loaded_hours=2))
    writer = segments.writer()
    await writer.append(line(1) * 50)
    await writer.close()
    folder = tmp_path / "edge-0"
    (folder / f"{segments.files()[0]}.12.damaged").write_text("bytes 12 to 20 are damaged\n")
    (folder / f"{segments.files()[1]}.4000.torn").write_text("{")
    backlog = reader.backlog()
    on_disk = sum(path.stat().st_size for path in folder.iterdir())
    assert sum(backlog[:3]) == on_disk
    newest = folder / segments.files()[-1]
    assert backlog.unread_bytes == newest.stat().st_size
    assert backlog.aside_files == 3
    assert backlog.aside_bytes == (folder / segments.files()[0]).stat().st_size + 27 + 1
