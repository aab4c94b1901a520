"""The log on a simulated disk, driven through everything that can happen to it, against plain lists.

Writers append and commit, segments rotate, a reader reads and commits, and at any step the disk fails, is full, or a
process dies, or the power is cut. What the log promises (docs/log.md) is checked after each step, and at the end,
when everything works again: what was acknowledged is loaded, and what was committed was never read again.

CATCHMENT_LOG_EXAMPLES and CATCHMENT_LOG_STEPS make longer runs.
"""

import asyncio
import errno
import os
from asyncio import Future
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from unittest.mock import patch

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from catchment.errors import LogUnavailable
from catchment.log import patience
from catchment.log.findings import DAMAGE_ENDING
from catchment.log.log import Batch
from catchment.log.position import Position, load_positions
from catchment.log.reader import SegmentReader
from catchment.log.segment import holds_records, scan, segment_name, sequence_of
from catchment.log.writer import SegmentWriter
from catchment.settings import Log
from tests.log.disk import Died, SimulatedDisk

ROOT = Path("/data/log")
SETTINGS = Log(segment_bytes_max=12_288, unsynced_bytes_max=1 << 20)
ROOMY = 1 << 40
READS_MAX = 2000  # more of them without an end would be a loop
EXAMPLES = int(os.environ.get("CATCHMENT_LOG_EXAMPLES", "150"))
STEPS = int(os.environ.get("CATCHMENT_LOG_STEPS", "60"))
FAILING_STEPS = ("append", "sync", "sync_folder", "open_new", "make_name", "rename", "remove", "cut", "read")


class Append:
    """One request's lines, and what became of them."""

    def __init__(self, number: int, writer: "Writer", lines: list[bytes], future: "Future[None]") -> None:
        self.number = number
        self.writer = writer
        self.lines = lines
        self.future = future
        self.loaded = self.committed = False

    @property
    def acknowledged(self) -> bool:
        return self.future.done() and self.future.exception() is None


class Writer:
    """One life of an edge process."""

    def __init__(self, log: SegmentWriter) -> None:
        self.log = log
        self.waiting = 0


class LogMachine(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 2**32 - 1))
    def begin(self, seed: int) -> None:
        self.disk = SimulatedDisk(Random(seed))
        self.disk.make_folder(ROOT.parent)
        self.loop = asyncio.new_event_loop()
        self.now = 0.0
        self.appends: list[Append] = []
        self.by_line: dict[bytes, Append] = {}
        self.writers: dict[int, Writer] = {}
        self.reader: SegmentReader | None = None
        self.batch: tuple[Batch, list[Append]] | None = None
        self.committed_positions: dict[str, Position] = {}
        self.power_goes_too = False
        self.taken: dict[Path, int] = {}

    # The edge

    @rule(slot=st.integers(0, 1))
    def open_writer(self, slot: int) -> None:
        if slot not in self.writers:
            self.run(lambda: self._open(slot), lambda: self._lose_writer(slot))

    def _open(self, slot: int) -> None:
        log = SegmentWriter(self.disk, ROOT, SETTINGS, loop=self.loop, clock=lambda: self.now, background=False)
        self.writers[slot] = Writer(log)

    @precondition(lambda self: self.writers)
    @rule(slot=st.integers(0, 1), sizes=st.lists(st.integers(0, 9000), min_size=1, max_size=3))
    def append(self, slot: int, sizes: list[int]) -> None:
        if writer := self.writers.get(slot):
            self._append(writer, sizes)

    def _append(self, writer: Writer, sizes: list[int]) -> None:
        number = len(self.appends)
        lines = [b'{"app":"a","n":"%d-%d","x":"%s"}\n' % (number, part, b"x" * size) for part, size in enumerate(sizes)]
        try:
            future = writer.log.append(b"".join(lines))
        except LogUnavailable:
            return  # and none of these lines may ever be read
        append = Append(number, writer, lines, future)
        self.appends.append(append)
        self.by_line |= dict.fromkeys(lines, append)
        writer.waiting += 1

    @precondition(lambda self: any(writer.waiting for writer in self.writers.values()))
    @rule(slot=st.integers(0, 1))
    def commit_waiting(self, slot: int) -> None:
        writer = self.writers.get(slot)
        if writer and writer.waiting:
            writer.waiting = 0
            self.run(lambda: self._commit_waiting(writer), lambda: self._lose_writer(slot))

    @rule(slot=st.integers(0, 1), sizes=st.lists(st.integers(0, 9000), min_size=1, max_size=3))
    def serve(self, slot: int, sizes: list[int]) -> None:
        """A request from its arrival to its answer, which is what mostly happens."""
        self.open_writer(slot)
        self.append(slot, sizes)
        self.commit_waiting(slot)

    @rule(
        slot=st.integers(0, 1), sizes=st.lists(st.integers(3000, 9000), min_size=2, max_size=3), steps=st.integers(2, 9)
    )
    def lose_power_while_serving(self, slot: int, sizes: list[int], steps: int) -> None:
        """Within a group of several blocks, any of which may then be missing."""
        self.open_writer(slot)
        self.append(slot, sizes)
        self.die_soon(steps, power=True)
        self.commit_waiting(slot)

    def _commit_waiting(self, writer: Writer) -> None:
        assert writer.log.commit_waiting()
        self.loop.run_until_complete(asyncio.sleep(0))

    @precondition(lambda self: self.writers)
    @rule(slot=st.integers(0, 1))
    def close_writer(self, slot: int) -> None:
        if writer := self.writers.get(slot):
            self.run(lambda: self._close(writer), lambda: self._lose_writer(slot))
            self.writers.pop(slot, None)

    def _close(self, writer: Writer) -> None:
        if writer.waiting:
            self._commit_waiting(writer)
        writer.log._folder.close()

    @precondition(lambda self: self.writers)
    @rule(slot=st.integers(0, 1))
    def kill_writer(self, slot: int) -> None:
        self._lose_writer(slot)

    def _lose_writer(self, slot: int) -> None:
        self.writers.pop(slot, None)
        self.disk.keep_locks({writer.log.name for writer in self.writers.values()})

    # The core

    @rule(bytes_max=st.sampled_from([1, 5000, 1 << 20]))
    def read(self, bytes_max: int) -> None:
        self.run(lambda: self._read(bytes_max), self._lose_reader)

    def _read(self, bytes_max: int) -> bool:
        self.batch = None
        if self.reader is None:
            self.reader = SegmentReader(self.disk, ROOT, SETTINGS, clock=lambda: self.now)
        batch = self.reader.read(bytes_max)
        if batch is not None:
            self.batch = batch, self._check_batch(batch)
        return batch is not None

    def _check_batch(self, batch: Batch) -> list[Append]:
        found: list[Append] = []
        lines = batch.lines.splitlines(keepends=True)
        while lines:
            append = self.by_line.get(lines[0])
            assert append is not None, "a line that was never appended, or refused, or torn"
            assert lines[: len(append.lines)] == append.lines, "a part of an append"
            del lines[: len(append.lines)]
            assert not append.committed, "read again after it was committed"
            found.append(append)
        for writer in {append.writer for append in found}:
            numbers = [append.number for append in found if append.writer is writer]
            assert numbers == sorted(set(numbers)), "not once, or not in order"
            before = [append.number for append in self.appends if append.writer is writer and append.committed]
            assert not before or before[-1] < numbers[0], "older than what was committed"
        return found

    @precondition(lambda self: self.batch)
    @rule()
    def commit(self) -> None:
        self.run(self._commit, self._lose_reader)

    @rule(bytes_max=st.sampled_from([1, 5000, 1 << 20]))
    def load(self, bytes_max: int) -> None:
        self.read(bytes_max)
        if self.batch:
            self.commit()

    def _commit(self) -> None:
        assert self.reader is not None
        assert self.batch is not None
        (batch, appends), self.batch = self.batch, None
        for append in appends:
            append.loaded = True  # the store made it durable
        for folder, position in batch.position.items():
            self.taken[ROOT / folder / segment_name(position.sequence)] = position.offset
        self.reader.commit(batch)
        for append in appends:
            append.committed = True
        self.committed_positions |= batch.position

    @rule()
    def tidy(self) -> None:
        if self.reader:
            self.run(self.reader.tidy, self._lose_reader)

    @rule()
    def kill_reader(self) -> None:
        self._lose_reader()

    def _lose_reader(self) -> None:
        self.reader = self.batch = None

    # The world

    @rule(step=st.sampled_from(FAILING_STEPS), code=st.sampled_from([errno.EIO, errno.ENOSPC]), times=st.integers(1, 3))
    def fail(self, step: str, code: int, times: int) -> None:
        self.disk.fail(step, code, times)

    @rule(room=st.sampled_from([0, 50, 1000, 6000]))
    def fill_up(self, room: int) -> None:
        self.disk.capacity = self.disk.used() + room

    @rule()
    def make_room(self) -> None:
        self.disk.capacity = ROOMY

    @rule()
    def wait(self) -> None:
        self.now += 1

    @rule()
    def wait_for_a_day(self) -> None:
        """In which nothing arrives."""
        self.now += 24 * 3600
        for slot, writer in list(self.writers.items()):
            self.run(writer.log._folder.end_old_segment, partial(self._lose_writer, slot))

    @rule(steps=st.integers(1, 12), power=st.booleans())
    def die_soon(self, steps: int, power: bool) -> None:
        self.disk.die_after(steps)
        self.power_goes_too = power

    @rule()
    def cut_the_power(self) -> None:
        for slot in list(self.writers):
            self._lose_writer(slot)
        self._lose_reader()
        self.disk.crash()
        on_disk = {line for content in self._segments().values() for line in lines_of(content)}
        for append in self.appends:
            if append.acknowledged and not append.loaded:
                assert set(append.lines) <= on_disk, "acknowledged, and gone with the power"

    def run(self, step: Callable[[], object], on_death: Callable[[], None]) -> None:
        """One step of a process, which may find that the disk fails, or die."""
        try:
            step()
        except OSError:
            pass
        except Died:
            on_death()
            if self.power_goes_too:
                self.cut_the_power()

    # What must be true

    def _segments(self) -> dict[Path, bytes]:
        return {
            ROOT / folder / info.name: self.disk.content(ROOT / folder / info.name)
            for folder in self.disk.folders(ROOT)
            for info in self.disk.files(ROOT / folder)
            if sequence_of(info.name) is not None
        }

    @invariant()
    def only_what_is_loaded_was_removed(self) -> None:
        removed, self.disk.removed = self.disk.removed, []
        for path, content in removed:
            if sequence_of(path.name) is None:
                continue
            for line in lines_of(content):
                assert self.by_line[line].loaded, "removed before it was loaded"
            found = scan(content)
            assert not found.damaged
            tail = content[found.end :]
            taken = self.taken.get(path, 0)  # by a reader, before the power was cut and the rest of it was torn
            if found.groups and taken <= found.end and tail.strip(b"\0"):
                torn = path.with_name(f"{path.name}.{found.end}.torn")
                assert self.disk.content(torn) == tail, "removed, and could not be read"

    @invariant()
    def nothing_is_taken_for_damage(self) -> None:
        for folder in self.disk.folders(ROOT):
            assert not [info.name for info in self.disk.files(ROOT / folder) if info.name.endswith(DAMAGE_ENDING)]

    @invariant()
    def positions_stay_behind_no_commit(self) -> None:
        if self.committed_positions:
            with_faults, self.disk._failing = self.disk._failing, {}
            dies_at, self.disk._dies_at = self.disk._dies_at, None
            durable = load_positions(self.disk, ROOT)
            self.disk._failing, self.disk._dies_at = with_faults, dies_at
            for writer, position in self.committed_positions.items():
                assert durable[writer] >= position

    def teardown(self) -> None:
        """Everything works again, and everything that was acknowledged is loaded, by a bounded number of reads."""
        try:
            self._settle()
        finally:
            for append in self.appends:
                append.future.cancel()
            self.loop.close()

    def _settle(self) -> None:
        self.disk.fail_no_more()
        self.disk.capacity = ROOMY
        self.now += 10
        for slot in list(self.writers):
            self._lose_writer(slot)
        self._lose_reader()
        folders = self.disk.folders(ROOT)
        for slot in range(max(1, len(folders))):  # a newer segment in each, so that all the others are final
            self._open(slot)
            self._append(self.writers[slot], [1])
            self._commit_waiting(self.writers[slot])
        for _ in range(READS_MAX):
            if not self._read(5000):
                break
            self._commit()
        else:
            raise AssertionError("reading does not come to an end")
        lost = [append.number for append in self.appends if append.acknowledged and not append.loaded]
        assert not lost, f"acknowledged and lost: {lost}"
        self.only_what_is_loaded_was_removed()
        assert len(self._segments()) == len(self.disk.folders(ROOT)), "segments that are loaded stay for ever"
        for writer in self.writers.values():
            writer.log._folder.close()
        while self._read(5000):
            self._commit()
        assert self.reader is not None
        self.reader.tidy()
        assert not self._segments(), "what nobody writes to any more stays for ever"
        assert self.reader.backlog().unread_bytes == 0


def lines_of(segment: bytes) -> list[bytes]:
    """The record lines of the sound groups."""
    groups = [segment[begin:end] for begin, end in scan(segment).groups]
    return [line for lines in groups if holds_records(lines) for line in lines.splitlines(keepends=True)]


def test_the_log_keeps_its_promise_whatever_happens() -> None:
    how = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
        database=None,
    )
    with patch.object(patience, "LEAST_READ_BYTES", 4096):
        run_state_machine_as_test(LogMachine, settings=how)
