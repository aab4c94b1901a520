"""How much room there is, when to stop and to go on, and how long it will last."""

import asyncio
import logging
from pathlib import Path

import pytest

from catchment.api.overview import room_left
from catchment.log.disk import LocalDisk
from catchment.log.log import Batch
from catchment.log.position import POSITION_NAME
from catchment.log.reader import SegmentReader
from catchment.log.room import DISK_FULL, LOG_FULL, Growth, Room, RoomWatch, room_of, seconds_left, shortage
from catchment.log.segment import segment_name
from catchment.log.writer import SegmentWriter
from catchment.settings import MIB, Log
from tests.log.contract import line

LIMITS = Log(segment_bytes_max=4096, bytes_max=MIB, free_bytes_min=1000)


class TightDisk(LocalDisk):
    """The real one, with as much room as the test says."""

    free = 10 * MIB
    fails = False

    def free_bytes(self, path: Path) -> int:
        if self.fails:
            raise OSError(5, "Input/output error")
        return self.free


def filled(root: Path, disk: LocalDisk, appends: int, settings: Log = LIMITS) -> None:
    """A writer that came and went."""

    async def write() -> None:
        writer = SegmentWriter(disk, root, settings, loop=asyncio.get_running_loop())
        for number in range(appends):
            await writer.append(line(number) * 50)
        await writer.close()

    asyncio.run(write())


def read(reader: SegmentReader, bytes_max: int) -> Batch:
    batch = reader.read(bytes_max)
    assert batch is not None
    return batch


class TestRoom:
    def test_what_waits_is_what_is_behind_the_position_in_all_folders(self, tmp_path: Path) -> None:
        disk = TightDisk()
        filled(tmp_path, disk, 10)
        whole = sum(path.stat().st_size for path in tmp_path.glob("*/*.ndjson"))
        assert room_of(disk, tmp_path) == Room(whole, whole, disk.free)
        reader = SegmentReader(disk, tmp_path, LIMITS)
        reader.commit(read(reader, 1))
        found, backlog = room_of(disk, tmp_path), reader.backlog()
        assert found[:2] == (backlog.unread_bytes, backlog.held_bytes)
        assert 0 < room_of(disk, tmp_path).unread_bytes < whole
        while (batch := reader.read(MIB)) is not None:
            reader.commit(batch)
        assert room_of(disk, tmp_path).unread_bytes == 0 < room_of(disk, tmp_path).held_bytes

    def test_with_a_damaged_position_everything_waits(self, tmp_path: Path) -> None:
        disk = TightDisk()
        filled(tmp_path, disk, 3)
        (tmp_path / POSITION_NAME).write_text("nonsense\n")
        room = room_of(disk, tmp_path)
        assert room.unread_bytes == room.held_bytes > 0

    def test_a_log_that_is_not_there_holds_nothing(self, tmp_path: Path) -> None:
        assert room_of(TightDisk(), tmp_path / "log") == Room(0, 0, TightDisk.free)


class TestShortage:
    @pytest.mark.parametrize(
        ("unread", "free", "before", "short"),
        [
            (0, 1000, "", ""),
            (0, 999, "", DISK_FULL),
            (0, 1249, DISK_FULL, DISK_FULL),
            (0, 1250, DISK_FULL, ""),
            (MIB - 1, 1000, "", ""),
            (MIB, 1000, "", LOG_FULL),
            (MIB - 1, 1000, LOG_FULL, LOG_FULL),
            (MIB * 9 // 10 - 1, 1000, LOG_FULL, ""),
            (MIB, 999, "", DISK_FULL),
            (MIB, 1250, DISK_FULL, LOG_FULL),
        ],
    )
    def test_ends_only_where_there_is_clearly_more_room(self, unread: int, free: int, before: str, short: str) -> None:
        assert shortage(Room(unread, unread, free), LIMITS, before) == short

    def test_is_told_when_it_begins_and_when_it_ends(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        disk = TightDisk()
        watch = RoomWatch(disk, tmp_path, LIMITS)
        silent = RoomWatch(disk, tmp_path, LIMITS, speaks=lambda: False)
        for free in (2000, 500, 400, 1100, 2000, 2000):
            disk.free = free
            watch.look()
            silent.look()
            assert watch.short == silent.short
        first, second = (record.getMessage() for record in caplog.records)
        assert (
            first
            == "log: 500 B are free, less than log.free_bytes_min, 1.0 kB: nothing is accepted until there is more"
        )
        assert second == "log: there is room again: everything is accepted as before"

    def test_a_disk_that_cannot_be_looked_at_changes_nothing(self, tmp_path: Path) -> None:
        disk = TightDisk()
        watch = RoomWatch(disk, tmp_path, LIMITS)
        disk.fails = True
        watch.look()
        assert watch.short == ""
        disk.fails, disk.free = False, 1
        watch.look()
        disk.fails = True
        watch.look()
        assert watch.short == DISK_FULL


class TestGrowth:
    def grown(self, *sizes: int, every_s: float = 5.0) -> float | None:
        growth = Growth()
        for number, size in enumerate(sizes):
            growth.note(number * every_s, size)
        return growth.bytes_per_second()

    def test_of_a_log_that_only_grows_is_its_rate(self) -> None:
        assert self.grown(0, 1000, 2000, 3000) == 200
        assert self.grown(0, 10, every_s=1.0) == 10

    def test_of_a_log_that_is_loaded_is_none(self) -> None:
        assert self.grown(0, 500, 100, 700, 0, 900) is None
        assert self.grown(5000, 4000, 3000) is None
        assert self.grown(5000, 5000, 5000, 5000) is None

    def test_one_look_tells_nothing(self) -> None:
        assert self.grown() is None
        assert self.grown(1000) is None

    def test_is_that_of_the_last_minute(self) -> None:
        assert self.grown(*range(0, 10_000, 10), every_s=1.0) == 10
        assert self.grown(*[0] * 100, *range(0, 20_000, 100), every_s=1.0) == 100

    @pytest.mark.parametrize(
        ("room", "seconds"),
        [
            (Room(MIB - 500, MIB, MIB), 5),
            (Room(0, 0, 3000), 20),
            (Room(2 * MIB, 2 * MIB, MIB), 0),
            (Room(0, 0, 10), 0),
        ],
    )
    def test_tells_in_how_many_seconds_the_first_of_both_bounds_is_reached(self, room: Room, seconds: float) -> None:
        assert seconds_left(room, LIMITS, 100.0) == seconds
        assert seconds_left(room, LIMITS, None) is None

    def test_goes_into_what_status_tells(self) -> None:
        growth = Growth()
        growth.note(0, 0)
        growth.note(10, 2000)
        assert room_left(Room(2000, 3000, 5000), LIMITS, growth) == {
            "unread_bytes": 2000,
            "unread_bytes_max": MIB,
            "free_bytes": 5000,
            "free_bytes_min": 1000,
            "short": "",
            "bytes_per_second": 200,
            "seconds_left": 20,
        }


class TestKeptSegments:
    """Segments that are loaded and kept for some hours give way to new events."""

    KEEPING = LIMITS.model_copy(update={"keep_loaded_hours": 24})

    def test_go_when_the_disk_is_short_though_nothing_is_appended(self, tmp_path: Path) -> None:
        disk = TightDisk()
        filled(tmp_path, disk, 20, self.KEEPING)
        now = 0.0
        reader = SegmentReader(disk, tmp_path, self.KEEPING, clock=lambda: now)
        reader.commit(read(reader, MIB))
        files = sorted(path.name for path in (tmp_path / "edge-0").glob("*.ndjson"))
        assert reader.read(MIB) is None
        assert len(files) > 3
        disk.free = 1000
        now += 10
        assert reader.read(MIB) is None
        [left] = (tmp_path / "edge-0").glob("*.ndjson")
        assert left.name == files[-1] == segment_name(len(files))

    def test_go_with_the_next_commit(self, tmp_path: Path) -> None:
        disk = TightDisk()
        filled(tmp_path, disk, 20, self.KEEPING)
        reader = SegmentReader(disk, tmp_path, self.KEEPING)
        disk.free = 1000
        reader.commit(read(reader, MIB))
        assert len(list((tmp_path / "edge-0").glob("*.ndjson"))) == 1
