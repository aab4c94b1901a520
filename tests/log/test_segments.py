"""The local log: the contract, and what its own bytes and its own disk can do to it."""

import asyncio
import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catchment.errors import LogUnavailable
from catchment.log.disk import AppendFile, LocalDisk
from catchment.log.reader import SegmentReader
from catchment.log.segment import group, header, scan, segment_name
from catchment.log.writer import CALM_S, SegmentWriter
from catchment.settings import Log
from tests.log.contract import Harness, LogContract, drain, line, records

SMALL = Log(segment_bytes_max=4096)


class Segments:
    """A log in a folder, with segments so small that they rotate."""

    def __init__(self, root: Path, settings: Log = SMALL) -> None:
        self.root = root
        self.settings = settings
        self.disk = FaultyDisk()

    def writer(self, clock: Callable[[], float] = time.monotonic) -> SegmentWriter:
        return SegmentWriter(self.disk, self.root, self.settings, loop=asyncio.get_running_loop(), clock=clock)

    def reader(self) -> SegmentReader:
        return SegmentReader(self.disk, self.root, self.settings)

    def files(self, writer: str = "edge-0") -> list[str]:
        return sorted(path.name for path in (self.root / writer).glob("*.ndjson"))


class FaultyDisk(LocalDisk):
    """The real disk, until `fail_sync` or `fail_append` says otherwise."""

    fail_sync: Callable[[], None] = staticmethod(lambda: None)
    fail_append: Callable[[], None] = staticmethod(lambda: None)

    def create(self, path: Path) -> AppendFile:
        return _FaultyFile(super().create(path), self)


class _FaultyFile:
    def __init__(self, file: AppendFile, disk: FaultyDisk) -> None:
        self._file = file
        self._disk = disk

    def append(self, data: bytes) -> None:
        try:
            self._disk.fail_append()
        except OSError:
            self._file.append(data[: len(data) // 2])  # a full disk takes a part
            raise
        self._file.append(data)

    def sync(self) -> None:
        self._disk.fail_sync()
        self._file.sync()

    def cut(self, size: int) -> None:
        self._file.cut(size)

    def close(self) -> None:
        self._file.close()


def failing(code: int) -> Callable[[], None]:
    def fail() -> None:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.fixture
def segments(tmp_path: Path) -> Segments:
    return Segments(tmp_path / "log")


class TestSegmentsKeepTheContract(LogContract):
    @pytest.fixture
    def harness(self, segments: Segments) -> Harness:
        return segments


async def test_segments_rotate_and_are_removed_once_loaded(segments: Segments) -> None:
    writer = segments.writer()
    for number in range(300):
        await writer.append(line(number))
    await writer.close()
    assert len(segments.files()) > 3
    assert drain(segments.reader()) == [line(number) for number in range(300)]
    assert len(segments.files()) == 1, "the newest stays, so that sequences never start over"


async def test_loaded_segments_are_kept_as_long_as_asked(tmp_path: Path) -> None:
    segments = Segments(tmp_path, SMALL.model_copy(update={"keep_loaded_hours": 1.0}))
    writer = segments.writer()
    for number in range(300):
        await writer.append(line(number))
    await writer.close()
    before = segments.files()
    drain(segments.reader())
    assert segments.files() == before


@pytest.mark.parametrize("fault", ["fail_sync", "fail_append"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
async def test_a_failing_disk_acknowledges_nothing_and_the_next_append_starts_a_fresh_segment(
    segments: Segments, fault: str, code: int
) -> None:
    now = 0.0
    writer = segments.writer(lambda: now)
    await writer.append(line(1))
    setattr(segments.disk, fault, failing(code))
    with pytest.raises(LogUnavailable, match=os.strerror(code)):
        await writer.append(line(2))
    delattr(segments.disk, fault)
    with pytest.raises(LogUnavailable, match="a moment ago"):
        writer.append(line(4))
    now += CALM_S
    await writer.append(line(3))
    await writer.close()
    assert len(segments.files()) >= 2
    found = drain(segments.reader())
    assert found[0] == line(1)
    assert found[-1] == line(3)
    assert set(found) <= {line(1), line(2), line(3)}


async def test_what_was_appended_before_a_failure_was_known_fails_with_it(segments: Segments) -> None:
    now = 0.0
    writer, taken, appended = segments.writer(lambda: now), asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    await writer.append(line(1))

    def fail_once() -> None:
        del segments.disk.fail_append
        loop.call_soon_threadsafe(taken.set)
        appended.wait(60)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    segments.disk.fail_append = fail_once
    first = writer.append(line(2))
    await taken.wait()
    second = writer.append(line(3))
    appended.set()
    for future in (first, second):
        with pytest.raises(LogUnavailable):
            await future
    now += CALM_S
    await writer.append(line(4))
    await writer.close()
    assert drain(segments.reader()) == [line(1), line(4)]


async def test_an_append_at_the_moment_when_the_disk_works_again_is_taken(segments: Segments) -> None:
    """The log's thread forgets the failure between two steps of the append."""
    now, between = 0.0, list[Callable[[], object]]()

    def clock() -> float:
        while between:
            thread = threading.Thread(target=between.pop())
            thread.start()
            thread.join()
        return now

    loop = asyncio.get_running_loop()
    writer = SegmentWriter(segments.disk, segments.root, SMALL, loop=loop, clock=clock, background=False)
    segments.disk.fail_append = failing(errno.EIO)
    failed = writer.append(line(1))
    writer.commit_waiting()
    with pytest.raises(LogUnavailable):
        await failed
    del segments.disk.fail_append
    now = 10.0
    first = writer.append(line(2))
    between.append(writer.commit_waiting)
    second = writer.append(line(3))
    writer.commit_waiting()
    await asyncio.gather(first, second)
    assert drain(segments.reader()) == [line(2), line(3)]
    await writer.close()


async def test_more_than_may_wait_for_the_disk_is_refused(tmp_path: Path) -> None:
    segments = Segments(tmp_path, Log(unsynced_bytes_max=1 << 20))
    writer = segments.writer()
    first = writer.append(b"x" * (1 << 20))
    with pytest.raises(LogUnavailable, match="waiting for the disk"):
        writer.append(line(1))
    await first
    await writer.append(line(2))
    await writer.close()


async def test_every_cut_of_a_segment_gives_whole_appends_only(segments: Segments) -> None:
    writer = segments.writer()
    appends = [line(1) + line(2), line(3), line(4) + line(5) + line(6)]
    for lines in appends:
        await writer.append(lines)
    await writer.close()
    path = segments.root / "edge-0" / segments.files()[0]
    whole = path.read_bytes()
    prefixes = [b"".join(appends[:count]) for count in range(len(appends) + 1)]
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        found = b"".join(records(segments.reader().read(1 << 20)))
        assert found in prefixes
    assert found == prefixes[-1]


async def test_a_torn_tail_is_skipped_once_the_writer_has_moved_on(
    segments: Segments, caplog: pytest.LogCaptureFixture
) -> None:
    writer = segments.writer()
    await writer.append(line(1))
    await writer.close()
    torn = segments.root / "edge-0" / segments.files()[0]
    with torn.open("ab") as file:
        file.write(line(2)[:-5])
    reader = segments.reader()
    assert drain(reader) == [line(1)]
    again = segments.writer()
    await again.append(line(3))
    await again.close()
    assert drain(reader) == [line(3)]
    assert "torn tail" in caplog.text


async def test_a_damaged_group_is_reported_kept_and_stepped_over(
    segments: Segments, caplog: pytest.LogCaptureFixture
) -> None:
    writer = segments.writer()
    for number in range(3):
        await writer.append(line(number))
    await writer.close()
    path = segments.root / "edge-0" / segments.files()[0]
    path.write_bytes(path.read_bytes().replace(line(1), b'{"app":"a","n":7}\n'))
    assert drain(segments.reader()) == [line(0), line(2)]
    assert "damaged" in caplog.text
    again = segments.writer()
    await again.append(line(4))
    await again.close()
    assert drain(segments.reader()) == [line(4)]
    assert path.exists(), "what could not be read is never deleted"
    [note] = path.parent.glob("*.damaged")
    assert note.name.startswith(path.name)


async def test_other_folders_beside_the_log_are_left_alone(segments: Segments) -> None:
    (segments.root / "lost+found").mkdir(parents=True)
    writer = segments.writer()
    await writer.append(line(1))
    await writer.close()
    assert drain(segments.reader()) == [line(1)]


async def test_a_folder_that_was_emptied_by_hand_goes_on_behind_the_position(segments: Segments) -> None:
    writer = segments.writer()
    for number in range(300):
        await writer.append(line(number))
    await writer.close()
    drain(segments.reader())
    for path in (segments.root / "edge-0").glob("*.ndjson"):
        path.unlink()
    again = segments.writer()
    await again.append(line(7))
    await again.close()
    assert drain(segments.reader()) == [line(7)]
    assert len(segments.files()) == 1


async def test_a_crash_between_read_and_commit_reads_again(segments: Segments) -> None:
    writer = segments.writer()
    await writer.append(line(1))
    await writer.close()
    segments.reader().read(1 << 20)  # and the process ends
    assert drain(segments.reader()) == [line(1)]


async def test_a_long_backlog_of_one_writer_starves_no_other(segments: Segments) -> None:
    busy, quiet = segments.writer(), segments.writer()
    await busy.append(b"".join(line(number) for number in range(1000)))
    await busy.append(line(1))
    await quiet.append(line(2))
    await busy.close()
    await quiet.close()
    reader = segments.reader()
    found: list[bytes] = []
    for _ in range(2):
        batch = reader.read(bytes_max=1)
        assert batch is not None
        found += records(batch)
        reader.commit(batch)
    assert line(2) in found


async def test_a_folder_is_locked_by_its_writer(segments: Segments) -> None:
    first, second = segments.writer(), segments.writer()
    assert (first.name, second.name) == ("edge-0", "edge-1")
    await first.close()
    third = segments.writer()
    assert third.name == "edge-0"
    await second.close()
    await third.close()


@given(st.lists(st.lists(st.integers(0, 10**12), min_size=1), max_size=20))
def test_groups_are_found_as_they_were_written(appends: list[list[int]]) -> None:
    written = [b"".join(map(line, numbers)) for numbers in appends]
    data = b"".join(map(group, written))
    found = scan(data)
    assert [data[begin:end] for begin, end in found.groups] == written
    assert (found.end, found.damaged) == (len(data), [])


@given(st.binary(max_size=300), st.integers(0, 400), st.binary(min_size=1, max_size=20))
def test_scanning_any_bytes_never_fails_and_never_believes_what_was_changed(
    noise: bytes, where: int, change: bytes
) -> None:
    scan(noise)
    data = group(line(1) + line(2)) + group(line(3))
    changed = data[:where] + change + data[where + len(change) :]
    found = scan(changed)
    written = {line(1) + line(2), line(3)}
    assert {changed[begin:end] for begin, end in found.groups} <= written or changed == data


def test_a_segment_is_plain_ndjson() -> None:
    assert header("edge-0", 7).count(b"\n") == 2
    assert segment_name(7) == "000000000007.ndjson"
