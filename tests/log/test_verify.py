"""`catchment log verify`: what it says of segments in every state, and beside a writer."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest

from catchment.cli.commands import run
from catchment.log import verify as verify_module
from catchment.log.disk import LocalDisk
from catchment.log.reader import SegmentReader
from catchment.log.segment import group, header
from catchment.log.verify import Finding, verify
from catchment.log.writer import SegmentWriter
from catchment.settings import Log
from tests.log.contract import line
from tests.log.disk import BLOCK_BYTES
from tests.log.test_recovery import EDGE, FIRST, ROOT, Machine

Spoil = Callable[[bytes], bytes]


@pytest.fixture(params=[64, 1 << 20], ids=["small pieces", "large pieces"])
def _pieces(request: pytest.FixtureRequest) -> object:
    with patch.object(verify_module, "PIECE_BYTES", request.param):
        yield


@pytest.fixture
async def machine(_pieces: object) -> Machine:
    """Three segments, two of them sealed, and the last one being written."""
    machine = Machine(keep=Log(segment_bytes_max=8192))
    writer = machine.writer()
    for number in range(300):
        await machine.append(writer, line(number))
    assert len(machine.files()) == 3
    return machine


def states(machine: Machine) -> list[str]:
    return [finding.state for finding in verify(machine.disk, ROOT)]


def first(machine: Machine) -> Finding:
    return next(verify(machine.disk, ROOT))


async def test_segments_are_sealed_but_for_the_one_that_is_written(machine: Machine) -> None:
    read: list[int] = []
    found = list(verify(machine.disk, ROOT, progress=read.append))
    assert [finding.state for finding in found] == ["sealed", "sealed", "open"]
    assert [finding.segment for finding in found] == [f"edge-0/{name}" for name in machine.files()]
    assert sum(finding.groups for finding in found) == 300 + 3 + 2
    assert sum(finding.bytes for finding in found) == sum(read) == machine.disk.used()
    assert all(finding.sound and finding.at == -1 for finding in found)


async def test_a_group_that_is_being_written_is_not_judged(machine: Machine) -> None:
    newest = EDGE / machine.files()[-1]
    machine.disk.spoil(newest, machine.disk.content(newest) + b'{"app":"a","n"')
    assert states(machine) == ["sealed", "sealed", "open"]


async def test_a_writer_that_died_leaves_a_segment_without_a_seal(machine: Machine) -> None:
    machine.disk.crash()
    await machine.append(machine.writer(), line(1))
    assert states(machine) == ["sealed", "sealed", "ended", "open"]


async def test_a_torn_group_is_no_damage(machine: Machine) -> None:
    last = EDGE / machine.files()[-1]
    content = machine.disk.content(last)
    machine.disk.spoil(last, content[:-5])
    machine.disk.crash()
    await machine.append(machine.writer(), line(1))
    torn = list(verify(machine.disk, ROOT))[2]
    assert (torn.state, torn.at) == ("torn", content[:-20].rindex(b'\n{"app"') + 1)
    assert torn.sound


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param(lambda content: content.replace(line(5), line(6)), "no sound group", id="a changed record"),
        pytest.param(lambda content: content.replace(group(line(5)), b""), "sealed with", id="a group gone"),
        pytest.param(
            lambda content: content.replace(group(line(5)) + group(line(6)), group(line(6)) + group(line(5))),
            "sealed with",
            id="groups in another order",
        ),
        pytest.param(lambda content: content + group(line(7)), "behind the seal", id="a group too many"),
        pytest.param(lambda content: content + b"x", "behind the seal", id="a byte too many"),
        pytest.param(lambda content: b"x" + content[1:], "no sound group", id="no header"),
        pytest.param(lambda content: bytes(len(content)), "not sound", id="zeros"),
    ],
)
async def test_damage_is_found(machine: Machine, spoil: Spoil, reason: str) -> None:
    machine.disk.spoil(FIRST, spoil(machine.disk.content(FIRST)))
    found = first(machine)
    assert (found.state, found.sound) == ("damaged", False)
    assert reason in found.reason


async def test_every_changed_byte_of_a_sealed_segment_is_found(machine: Machine) -> None:
    content = machine.disk.content(FIRST)
    for where in range(0, len(content), 7):
        machine.disk.spoil(FIRST, content[:where] + bytes([content[where] ^ 1]) + content[where + 1 :])
        found = first(machine)
        assert found.state == "damaged" or (found.state == "torn" and found.at <= where), where


async def test_a_block_that_cannot_be_read_is_told_and_the_rest_is_checked(machine: Machine) -> None:
    machine.disk.make_unreadable(FIRST, 1)
    found = list(verify(machine.disk, ROOT))
    assert [finding.state for finding in found] == ["unreadable", "sealed", "open"]
    assert found[0].at <= BLOCK_BYTES
    assert not found[0].sound


async def test_a_segment_that_is_removed_meanwhile_is_left_out(machine: Machine) -> None:
    checking = verify(machine.disk, ROOT)
    next(checking)
    machine.disk.remove(EDGE / machine.files()[1])
    assert [finding.state for finding in checking] == ["open"]


def test_a_log_without_segments_is_sound(tmp_path: Path) -> None:
    assert list(verify(LocalDisk(), tmp_path)) == []


class TestCommand:
    @pytest.fixture
    async def data_dir(self, tmp_path: Path) -> Path:
        loop = asyncio.get_running_loop()
        writer = SegmentWriter(LocalDisk(), tmp_path / "log", Log(segment_bytes_max=4096), loop=loop)
        for number in range(100):
            await writer.append(line(number))
        await writer.close()
        return tmp_path

    def test_a_sound_log(self, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["log", "verify", "--data-dir", str(data_dir)]) == 0
        told = capsys.readouterr()
        assert "edge-0/000000000001.ndjson" in told.out
        assert "sealed" in told.out
        assert "2 segments, all sound" in told.out
        assert told.err == ""

    def test_damage_is_exit_1(self, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = data_dir / "log" / "edge-0" / "000000000001.ndjson"
        path.write_bytes(path.read_bytes().replace(line(5), line(6)))
        assert run(["log", "verify", "--data-dir", str(data_dir)]) == 1
        assert "damaged at byte" in " ".join(capsys.readouterr().out.split())
        assert run(["log", "verify", "--format", "json", "--data-dir", str(data_dir)]) == 1
        found = json.loads(capsys.readouterr().out)
        begin = len(header("edge-0", 1)) + sum(len(group(line(number))) for number in range(5))
        assert (found[0]["state"], found[0]["at"], found[0]["sound"]) == ("damaged", begin, False)

    @staticmethod
    def spoil(data_dir: Path) -> None:
        path = data_dir / "log" / "edge-0" / "000000000001.ndjson"
        path.write_bytes(path.read_bytes().replace(line(5), line(6)))

    @staticmethod
    def load(data_dir: Path) -> bytes:
        """As the core does: reads all, and commits it."""
        reader = SegmentReader(LocalDisk(), data_dir / "log", Log(keep_loaded_hours=1))
        lines = b""
        while batch := reader.read(1 << 20):
            lines += batch.lines
            reader.commit(batch)
        return lines

    @staticmethod
    def told(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
        assert run(["log", "verify", "--format", "json", "--data-dir", str(data_dir)]) == 1
        found = json.loads(capsys.readouterr().out)
        assert [other["consequence"] for other in found[1:]] == ["none"] * len(found[1:])
        assert run(["log", "verify", "--data-dir", str(data_dir)]) == 1
        return found[0]["consequence"], capsys.readouterr().out

    def test_damage_to_what_was_loaded_before_has_lost_nothing(
        self, data_dir: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert line(5) in self.load(data_dir)
        self.spoil(data_dir)
        consequence, text = self.told(data_dir, capsys)
        assert consequence == "loaded"
        assert "000000000001.ndjson: nothing is lost: the core had passed this place" in text
        assert "What now: copy each damaged segment elsewhere" in text

    def test_damage_that_the_core_has_not_come_to_yet_will_cost_the_groups_that_it_touches(
        self, data_dir: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.spoil(data_dir)
        consequence, text = self.told(data_dir, capsys)
        assert consequence == "waits"
        assert "000000000001.ndjson: events will be lost: the core has not read this place yet." in text

    def test_damage_that_the_core_stepped_over_has_lost_the_groups_that_it_touches(
        self, data_dir: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.spoil(data_dir)
        lines = self.load(data_dir)
        assert (line(4) in lines, line(5) in lines, line(6) in lines, line(99) in lines) == (True, False, True, True)
        consequence, text = self.told(data_dir, capsys)
        assert consequence == "not_loaded"
        assert "000000000001.ndjson: events are lost: the damage was there when the core read the segment" in text

    def test_damage_beside_a_damaged_position_is_told_as_unknown(
        self, data_dir: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.load(data_dir)
        self.spoil(data_dir)
        position = data_dir / "log" / "position.json"
        position.write_bytes(position.read_bytes().replace(b"edge-0", b"edge-1"))
        consequence, text = self.told(data_dir, capsys)
        assert consequence == "unknown"
        assert "nobody can tell whether its events were loaded before" in text

    def test_a_folder_without_a_log_is_the_wrong_one(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["log", "verify", "--data-dir", str(tmp_path)]) == 2
        assert "there is no log" in capsys.readouterr().err
