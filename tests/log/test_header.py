"""The header of a segment: it is believed where it is sound, and damage to it costs what damage anywhere costs."""

from collections.abc import Iterator

import pytest

from catchment.log.patience import LaterFormat
from catchment.log.segment import Seal, group, header, seal, segment_name, version_of
from catchment.log.verify import verify
from tests.log.contract import drain, line
from tests.log.test_recovery import EDGE, FIRST, ROOT, Machine

HEADER = header("edge-0", 1)
GROUPS = group(line(1)) + group(line(2))


def flipped() -> Iterator[tuple[str, bytes]]:
    """Which bit, and the header with that bit flipped."""
    for where in range(len(HEADER)):
        for bit in range(8):
            changed = bytes([HEADER[where] ^ 1 << bit])
            yield f"byte {where}, bit {bit}", HEADER[:where] + changed + HEADER[where + 1 :]


def machine_with(*segments: bytes) -> Machine:
    machine = Machine()
    machine.disk.make_folder(EDGE)
    for sequence, content in enumerate(segments, 1):
        machine.disk.create(EDGE / segment_name(sequence))
        machine.disk.spoil(EDGE / segment_name(sequence), content)
    return machine


@pytest.mark.parametrize("sealed", [False, True])
def test_a_flipped_bit_of_a_header_costs_no_record_and_is_damage_to_reader_and_verify(sealed: bool) -> None:
    end = seal(Seal(len(HEADER + GROUPS), 0, 3)) if sealed else b""
    for what, damaged in flipped():
        machine = machine_with(damaged + GROUPS + end, header("edge-0", 2) + group(line(3)))
        assert [finding.state for finding in verify(machine.disk, ROOT)] == ["damaged", "open"], what
        assert drain(machine.reader()) == [line(1), line(2), line(3)], what
        assert machine.files()[:2] == [segment_name(1), f"{segment_name(1)}.0.damaged"], what
        assert machine.disk.content(FIRST) == damaged + GROUPS + end


def test_a_flipped_bit_of_the_header_of_the_newest_segment_holds_up_nothing_behind_it() -> None:
    for what, damaged in flipped():
        machine = machine_with(damaged + GROUPS)
        reader = machine.reader()
        assert drain(reader) == [line(1), line(2)], what
        machine.disk.spoil(FIRST, damaged + GROUPS + group(line(3)))
        assert drain(reader) == [line(3)], what


@pytest.mark.parametrize("writer", ["edge-0", "edge-1023"])
@pytest.mark.parametrize("sequence", [1, 10**12 - 1])
def test_the_version_is_that_of_a_sound_header_whatever_stands_behind_it(writer: str, sequence: int) -> None:
    sound = header(writer, sequence)
    assert version_of(sound) == version_of(sound + GROUPS * 9) == version_of(sound + b"{") == 1
    assert version_of(sound[:-1]) is None
    assert version_of(group(line(1)) + sound) is None


def test_a_later_version_with_a_sound_header_is_still_refused() -> None:
    lines = b'{"segment":{"version":2,"writer":"edge-0","sequence":1,"more":"%b"}}\n' % (b"x" * 100)
    machine = machine_with(group(lines) + b"what only a later version understands")
    with pytest.raises(LaterFormat):
        machine.reader().read(1 << 20)
    assert machine.files() == [segment_name(1)]
