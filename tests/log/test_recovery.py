"""What the log does after each fault, one at a time; tests/log/test_machine.py mixes them."""

import asyncio
import errno
import json
import logging
import os
import zlib
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catchment.errors import LogUnavailable
from catchment.log.disk import LocalDisk
from catchment.log.held import RETRY_S
from catchment.log.patience import PATIENCE_S
from catchment.log.position import POSITION_NAME, load_positions
from catchment.log.reader import SegmentReader
from catchment.log.segment import Seal, group, header, scan, seal, seal_of, segment_name
from catchment.log.writer import CALM_S, SegmentWriter
from catchment.settings import Log
from tests.log.contract import drain, line, records
from tests.log.disk import BLOCK_BYTES, SimulatedDisk

ROOT = Path("/data/log")
EDGE = ROOT / "edge-0"
FIRST = EDGE / segment_name(1)
SMALL = Log(segment_bytes_max=4096)


class Machine:
    """A simulated disk with a log on it, a clock, and writers and readers that do what they do when they are told."""

    def __init__(self, chance: Random | None = None, keep: Log = SMALL) -> None:
        self.disk = SimulatedDisk(chance or Random(1))
        self.disk.make_folder(ROOT.parent)
        self.settings = keep
        self.now = 0.0

    def writer(self) -> SegmentWriter:
        loop = asyncio.get_running_loop()
        return SegmentWriter(self.disk, ROOT, self.settings, loop=loop, clock=lambda: self.now, background=False)

    def reader(self) -> SegmentReader:
        return SegmentReader(self.disk, ROOT, self.settings, clock=lambda: self.now)

    async def append(self, writer: SegmentWriter, lines: bytes) -> None:
        future = writer.append(lines)
        writer.commit_waiting()
        await future

    def files(self, folder: Path = EDGE) -> list[str]:
        return [info.name for info in self.disk.files(folder) if info.name != "lock"]


@pytest.fixture
def machine() -> Machine:
    return Machine()


# The power


async def test_a_position_never_names_a_segment_whose_name_may_vanish(machine: Machine) -> None:
    writer = machine.writer()
    await machine.append(writer, line(1))
    await writer.close()
    machine.disk.open_new(EDGE / segment_name(2))  # as its writer makes it, before it synced the folder
    drain(machine.reader())
    assert load_positions(machine.disk, ROOT)["edge-0"].sequence == 1
    assert segment_name(1) in machine.files(), "were it removed, sequences could start over"


@pytest.mark.parametrize("seed", range(20))
async def test_a_folder_whose_name_was_not_synced_is_synced_by_the_next_that_needs_it(seed: int) -> None:
    machine = Machine(Random(seed))
    machine.disk.fail("sync_folder")
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        machine.writer()
    await machine.append(machine.writer(), line(1))
    machine.disk.crash()
    assert drain(machine.reader()) == [line(1)]


@pytest.mark.parametrize("seed", range(20))
async def test_a_position_whose_sync_failed_is_written_to_a_fresh_file(seed: int) -> None:
    machine = Machine(Random(seed))
    await machine.append(machine.writer(), line(1))
    reader = machine.reader()
    batch = reader.read(1 << 20)
    assert batch is not None
    machine.disk.fail("sync")
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        reader.commit(batch)
    reader.commit(batch)  # the simulated disk objects to a second sync of one file
    machine.disk.crash()
    assert drain(machine.reader()) == []


async def test_what_a_torn_group_left_is_kept_in_a_file_of_its_own_and_its_segment_is_not(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    await machine.append(machine.writer(), line(1))
    torn = group(line(2))[:-7]
    machine.disk.spoil(FIRST, machine.disk.content(FIRST) + torn)
    machine.disk.crash()
    writer = machine.writer()
    await machine.append(writer, line(3))
    assert drain(machine.reader()) == [line(1), line(3)]
    assert "cut a torn tail" in caplog.text
    [kept] = [name for name in machine.files() if name.endswith(".torn")]
    assert machine.disk.content(EDGE / kept) == torn
    assert segment_name(1) not in machine.files()


async def test_zeros_behind_the_last_group_are_cut_and_not_kept(machine: Machine) -> None:
    await machine.append(machine.writer(), line(1))
    machine.disk.spoil(FIRST, machine.disk.content(FIRST) + bytes(5000))
    machine.disk.crash()
    await machine.append(machine.writer(), line(3))
    assert drain(machine.reader()) == [line(1), line(3)]
    assert machine.files() == [segment_name(2)]


# Damage


@settings(max_examples=200, deadline=None)
@given(
    damage=st.lists(st.tuples(st.integers(0, 3000), st.binary(min_size=1, max_size=80)), min_size=1, max_size=3),
    cut=st.integers(0, 200),
    sealed=st.booleans(),
)
def test_damage_costs_the_groups_that_it_touches_and_no_other(
    damage: list[tuple[int, bytes]], cut: int, sealed: bool
) -> None:
    lines = [b"".join(line(10 * number + part) for part in range(number % 4 + 1)) for number in range(20)]
    content, spans = header("edge-0", 1), []
    for text in lines:
        spans.append((len(content), len(content) + len(group(text)), text))
        content += group(text)
    if sealed:
        content += seal(Seal(len(content), 0, 21))
    spoilt = content[: len(content) - cut]
    for where, change in damage:
        spoilt = spoilt[:where] + change[: max(0, len(spoilt) - where)] + spoilt[where + len(change) :]
    machine = Machine()
    machine.disk.make_folder(EDGE)
    for sequence, text in ((1, spoilt), (2, header("edge-0", 2))):
        machine.disk.create(EDGE / segment_name(sequence))
        machine.disk.spoil(EDGE / segment_name(sequence), text)
    found = b"".join(drain(machine.reader(), bytes_max=1))
    untouched = [text for begin, end, text in spans if spoilt[begin:end] == content[begin:end]]
    assert found == b"".join(untouched)
    lost_unseen = spoilt in [content[:begin] for begin, _, _ in spans]  # cut where a group begins: only a seal tells
    unread = len(untouched) < len(lines) and not lost_unseen
    assert not unread or len(machine.files()) > 1, "what could not be read is there, whole or as a file of its own"


def test_a_damaged_commit_line_costs_only_its_own_group() -> None:
    data = group(line(1)) + group(line(2)).replace(b'"crc32"', b'"crc33"') + group(line(3))
    found = scan(data)
    assert [data[begin:end] for begin, end in found.groups] == [line(1), line(3)]
    assert [data[begin:end] for begin, end in found.damaged] == [group(line(2)).replace(b'"crc32"', b'"crc33"')]


async def test_damage_is_noted_before_the_position_passes_it_and_told_once(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    writer = machine.writer()
    for number in range(3):
        await machine.append(writer, line(number))
    machine.disk.spoil(FIRST, machine.disk.content(FIRST).replace(line(1), b'{"app":"a","n":7}\n'))
    machine.disk.capacity = 0
    reader = machine.reader()
    for _ in range(3):
        batch = reader.read(1 << 20)  # which writes nothing, so that a full disk does not end it
        assert records(batch) == [line(0), line(2)]
    assert batch is not None
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        reader.commit(batch)
    assert load_positions(machine.disk, ROOT) == {}
    machine.disk.capacity = 1 << 30
    reader.commit(batch)
    assert [name for name in machine.files() if name.endswith(".damaged")]
    assert caplog.text.count("are damaged") == 1


async def test_a_segment_that_is_shorter_or_longer_than_its_seal_says_is_kept(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    writer = machine.writer()
    for number in range(3):
        await machine.append(writer, line(number))
    await writer.close()
    machine.disk.spoil(FIRST, machine.disk.content(FIRST).replace(group(line(1)), b""))
    await machine.append(machine.writer(), line(4))
    assert drain(machine.reader()) == [line(0), line(2), line(4)]
    assert "was sealed with" in caplog.text
    assert segment_name(1) in machine.files()


async def test_a_segment_of_zeros_is_damage_and_is_kept(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    writer = machine.writer()
    for number in range(20):
        await machine.append(writer, line(number))
    machine.disk.spoil(FIRST, bytes(len(machine.disk.content(FIRST))))
    machine.disk.crash()
    await machine.append(machine.writer(), line(99))
    assert drain(machine.reader()) == [line(99)]
    assert "are damaged" in caplog.text
    assert segment_name(1) in machine.files()


async def test_a_damaged_position_means_that_everything_is_read_once_more(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    await machine.append(machine.writer(), line(1))
    drain(machine.reader())
    path = ROOT / POSITION_NAME
    content = machine.disk.content(path)
    machine.disk.spoil(path, content.replace(b"[1,", b"[9,"))
    assert drain(machine.reader()) == [line(1)]
    assert "loaded once more" in caplog.text
    assert machine.disk.content(path.with_name(path.name + ".damaged"))
    assert drain(machine.reader()) == []


async def test_a_position_of_the_older_form_is_taken(machine: Machine) -> None:
    await machine.append(machine.writer(), line(1))
    machine.disk.create(ROOT / POSITION_NAME)
    end = len(machine.disk.content(FIRST))
    machine.disk.spoil(ROOT / POSITION_NAME, json.dumps({"edge-0": [1, end]}).encode())
    assert drain(machine.reader()) == []


# A disk that cannot be read


async def test_a_segment_that_cannot_be_read_holds_up_no_other_folder(machine: Machine) -> None:
    mine, other = machine.writer(), machine.writer()
    await machine.append(mine, line(1))
    await machine.append(other, line(2))
    machine.disk.make_unreadable(FIRST, 0)
    reader = machine.reader()
    assert drain_what_can_be_read(reader) == [line(2)]
    machine.disk.fail_no_more()
    machine.now += RETRY_S
    assert drain(reader) == [line(1)]


@pytest.mark.parametrize("bytes_max", [1, 5000, 6000, 1 << 20])
async def test_a_block_that_stays_unreadable_is_stepped_over_and_its_segment_is_kept(
    bytes_max: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catchment.log.patience.LEAST_READ_BYTES", 4096)
    machine = Machine(keep=Log())
    writer = machine.writer()
    appends = [b"".join(line(100 * number + part) for part in range(50)) for number in range(20)]
    for lines in appends:
        await machine.append(writer, lines)
    await writer.close()
    await machine.append(machine.writer(), line(99))
    content = machine.disk.content(FIRST)
    machine.disk.make_unreadable(FIRST, 2)
    reader = machine.reader()
    found: list[bytes] = []
    for _ in range(3):
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            drain_into(found, reader, bytes_max)
        machine.now += PATIENCE_S / 2.5
    drain_into(found, reader, bytes_max)
    bad = range(2 * BLOCK_BYTES, 3 * BLOCK_BYTES)
    begins = map(content.index, appends)
    readable = [
        lines
        for lines, begin in zip(appends, begins, strict=True)
        if begin >= bad.stop or begin + len(group(lines)) <= bad.start
    ]
    assert 0 < len(readable) < len(appends)
    assert b"".join(found) == b"".join(readable) + line(99)
    assert segment_name(1) in machine.files()
    assert caplog.text.count("is tried again") == 1
    assert drain(machine.reader()) == [], "it is over"


def drain_into(found: list[bytes], reader: SegmentReader, bytes_max: int) -> None:
    while batch := reader.read(bytes_max):
        found += records(batch)
        reader.commit(batch)


def drain_what_can_be_read(reader: SegmentReader) -> list[bytes]:
    batch = reader.read(1 << 20)
    assert batch is not None
    reader.commit(batch)
    assert reader.read(1 << 20) is None
    [reason] = reader.unreadable()
    assert os.strerror(errno.EIO) in reason
    return records(batch)


# A disk that is full, or fails


async def test_a_full_disk_is_left_without_torn_groups_and_empty_segments(machine: Machine) -> None:
    writer = machine.writer()
    await machine.append(writer, line(0))
    for room in (0, 50, 0, 300):
        machine.disk.capacity = machine.disk.used() + room
        machine.now += 2 * CALM_S
        with pytest.raises(LogUnavailable, match=os.strerror(errno.ENOSPC)):
            await machine.append(writer, line(1) * 100)
        contents = [machine.disk.content(EDGE / name) for name in machine.files()]
        assert [scan(content).end for content in contents] == list(map(len, contents)), "whole groups only"
        assert len(contents) == (2 if room == 300 else 1)
    machine.disk.capacity = 1 << 30
    machine.now += 2 * CALM_S
    await machine.append(writer, line(2))
    assert drain(machine.reader()) == [line(0), line(2)]


async def test_a_segment_that_cannot_be_sealed_loses_nothing(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    writer = machine.writer()
    await machine.append(writer, line(1))
    machine.disk.fail("append", errno.ENOSPC)
    await writer.close()
    assert "could not be sealed" in caplog.text
    machine.disk.crash()
    await machine.append(machine.writer(), line(2))
    assert drain(machine.reader()) == [line(1), line(2)]


async def test_a_failing_disk_is_told_once_and_so_is_its_recovery(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    writer = machine.writer()
    for step in ("append", "sync", "open_new"):
        machine.disk.fail(step)
        machine.now += 2 * CALM_S
        with pytest.raises(LogUnavailable):
            await machine.append(writer, line(1))
    machine.now += 2 * CALM_S
    await machine.append(writer, line(2))
    assert caplog.text.count("takes nothing") == 1
    assert caplog.text.count("takes appends again") == 1


async def test_whatever_goes_wrong_in_a_commit_answers_those_who_wait(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = machine.writer()

    def defect(appends: list[bytes]) -> None:
        raise MemoryError

    monkeypatch.setattr(writer._folder, "commit", defect)
    with pytest.raises(LogUnavailable, match="MemoryError"):
        await machine.append(writer, line(1))


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, bytes(data)[:3]))
    file = LocalDisk().create(tmp_path / "file")
    file.append(b"0123456789")
    file.cut(8)
    file.append(b"ab")
    file.sync()
    file.close()
    assert (tmp_path / "file").read_bytes() == b"01234567ab"


# Removal


async def test_sequences_go_on_behind_the_position_of_a_folder_that_was_emptied(machine: Machine) -> None:
    writer = machine.writer()
    for number in range(300):
        await machine.append(writer, line(number))
    await writer.close()
    drain(machine.reader())
    for name in machine.files():
        machine.disk.remove(EDGE / name)
    again = machine.writer()  # while no core runs, as many segments as the position has counted, and more
    later = [line(1000 + number) for number in range(600)]
    for text in later:
        await machine.append(again, text)
    assert drain(machine.reader()) == later


async def test_segments_of_a_writer_that_appends_no_more_are_removed_as_well(machine: Machine) -> None:
    writer, other = machine.writer(), machine.writer()
    for number in range(100):
        await machine.append(writer, line(number))
    machine.disk.fail("remove", times=1000)
    drain(machine.reader())
    assert len(machine.files()) > 1
    machine.disk.fail_no_more()
    await machine.append(other, line(100))
    drain(machine.reader())
    assert len(machine.files()) == 1


async def test_a_segment_that_cannot_be_removed_ends_no_commit(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    writer = machine.writer()
    for number in range(100):
        await machine.append(writer, line(number))
    machine.disk.fail("remove", times=1000)
    assert drain(machine.reader()) == [line(number) for number in range(100)]
    assert "were not removed" in caplog.text


async def test_a_clock_that_was_set_back_keeps_no_segment(tmp_path: Path) -> None:
    writer = SegmentWriter(LocalDisk(), tmp_path, SMALL, loop=asyncio.get_running_loop())
    for number in range(100):
        await writer.append(line(number))
    await writer.close()
    for path in (tmp_path / "edge-0").glob("*.ndjson"):
        os.utime(path, (4e9, 4e9))
    drain(SegmentReader(LocalDisk(), tmp_path, SMALL))
    assert len(list((tmp_path / "edge-0").glob("*.ndjson"))) == 1


# The seal


async def test_a_segment_that_ended_in_order_is_sealed_with_all_that_is_before(machine: Machine) -> None:
    writer = machine.writer()
    for number in range(200):
        await machine.append(writer, line(number))
    await writer.close()
    assert len(machine.files()) > 2
    for name in machine.files():
        content = machine.disk.content(EDGE / name)
        found = scan(content)
        begin, end = found.groups[-1]
        commit_lines = b"".join(text for text in content[:begin].splitlines(keepends=True) if b'{"commit"' in text)
        assert seal_of(content[begin:end]) == Seal(begin, zlib.crc32(commit_lines), len(found.groups) - 1)
    batch = machine.reader().read(1 << 20)
    assert batch is not None
    assert b"sealed" not in batch.lines


async def test_segments_of_a_writer_that_knew_no_seal_are_read(machine: Machine) -> None:
    machine.disk.make_folder(EDGE)
    for sequence in (1, 2):
        machine.disk.create(EDGE / segment_name(sequence))
        machine.disk.spoil(EDGE / segment_name(sequence), header("edge-0", sequence) + group(line(sequence)))
    assert drain(machine.reader()) == [line(1), line(2)]
    assert machine.files() == [segment_name(2)]


@pytest.mark.parametrize("content", [b'{"edge-0":[Infinity,0]}', b'{"edge-0":[1,-1]}', b"[" * 1100, b'{"edge-0":[]}'])
async def test_a_position_that_cannot_be_one_means_that_everything_is_read_once_more(
    machine: Machine, content: bytes
) -> None:
    await machine.append(machine.writer(), line(1))
    assert drain(machine.reader()) == [line(1)]
    machine.disk.spoil(ROOT / POSITION_NAME, content)
    assert drain(machine.reader()) == [line(1)]
