"""Targets of the log: the groups of a segment, and the reader's recovery on a simulated disk.

A checksum cannot be guessed, so an input of `recovery` is a program: its first byte says how many groups each of a
few sound segments has, and every four bytes behind it spoil something. A sound group that no step touched must be
given, and nothing may be given that was not written.
"""

import re
import zlib
from pathlib import Path
from random import Random
from typing import NamedTuple

from catchment.log.findings import DAMAGE_ENDING, TORN_ENDING
from catchment.log.patience import PATIENCE_S
from catchment.log.position import POSITION_NAME, DamagedPositions, load_positions
from catchment.log.reader import SegmentReader
from catchment.log.segment import Seal, commit_line, group, header, is_torn_group, scan, seal, segment_name
from catchment.settings import Log
from tests.fuzz.target import Target, require
from tests.log.disk import BLOCK_BYTES, SimulatedDisk

ROOT = Path("/data/log")
EDGE = ROOT / "edge-0"
STEP_BYTES = 4
_COMMIT = re.compile(rb'\{"commit":\{"bytes":(\d+),"crc32":(\d+)\}\}\n')
_READS_MAX = 2000
_LOGS = Log(segment_bytes_max=4096, keep_loaded_hours=0)


def scanned(data: bytes) -> None:
    """The spans of a scan lie one behind the other, leave nothing out, and each group fits its checksum."""
    found = scan(data)
    at, damaged = 0, list(found.damaged)
    for begin, end in found.groups:
        if damaged and damaged[0][0] == at:
            at = damaged.pop(0)[1]
        require(begin == at <= end, "spans lie one behind the other")
        commit = _COMMIT.match(data, end)
        require(commit is not None, "behind a group is its commit line")
        assert commit is not None
        require(int(commit[1]) == end - begin and int(commit[2]) == zlib.crc32(data[begin:end]), "a group is sound")
        at = commit.end()
    require(at == found.end and not damaged, "spans leave nothing out")
    is_torn_group(data[found.end :], found.end)
    behind = b'{"app":"behind"}\n'
    again = scan(data + b"\n" + group(behind))
    require(again.groups[: len(found.groups)] == found.groups, "what stands behind costs no group before it")
    last = again.groups[-1] if again.groups else (0, 0)
    require((data + b"\n" + group(behind))[slice(*last)].endswith(behind), "a sound group is found behind anything")


class Piece(NamedTuple):
    """A part of a segment: its bytes, and the lines that it must give, if it is a sound group."""

    data: bytes
    lines: bytes = b""


def recovered(data: bytes) -> None:
    """Every untouched group is given, in order; none that was not written; and nothing that was not given is gone."""
    shape = data[0] if data else 0
    segments = [_segment(number, 1 + (shape >> 2 * number) % 4) for number in range(3)]
    written = {piece.lines for segment in segments for piece in segment if piece.lines}
    disk = SimulatedDisk(Random(shape))
    disk.make_folder(EDGE)
    unreadable = []
    for at in range(1, len(data) - STEP_BYTES + 1, STEP_BYTES):
        step, which, where, what = data[at : at + STEP_BYTES]
        segment = segments[which % len(segments)]
        if step % 8 == 7:
            unreadable.append((which % len(segments), where))
        else:
            _spoil(segment, step % 8, where, what, data[at + STEP_BYTES :])
    contents = [b"".join(piece.data for piece in segment) for segment in segments]
    contents.append(header("edge-0", len(segments) + 1))  # behind which the others are final
    for number, content in enumerate(contents, 1):
        disk.create(EDGE / segment_name(number))
        disk.spoil(EDGE / segment_name(number), content)
    for which, block in unreadable:
        disk.make_unreadable(EDGE / segment_name(which + 1), block % (len(contents[which]) // BLOCK_BYTES + 1))
    if not data[-1:] or data[-1] % 16 == 15:
        disk.create(ROOT / POSITION_NAME)
        disk.spoil(ROOT / POSITION_NAME, b"\n" + data)
    given = _drain(disk, 1 << shape % 16)
    _require_all(given, [piece.lines for segment in segments for piece in segment if piece.lines], unreadable)
    require(all(lines in written for lines in given), "nothing is given that was not written")
    _require_nothing_lost(disk)


def positioned(data: bytes) -> None:
    """Whatever the file of positions holds, it is positions or damage, behind which everything is read once more."""
    content = group(data[1:]) if data[:1] == b"\1" else data[1:]
    disk = SimulatedDisk(Random(1))
    disk.make_folder(EDGE)
    disk.create(EDGE / segment_name(1))
    disk.spoil(EDGE / segment_name(1), b"".join(piece.data for piece in _segment(0, 1)))
    disk.create(ROOT / POSITION_NAME)
    disk.spoil(ROOT / POSITION_NAME, content)
    try:
        positions = load_positions(disk, ROOT)
    except DamagedPositions:
        require(len(_drain(disk, 1 << 16)) == 1, "everything is read once more")
        return
    require(all(min(position) >= 0 for position in positions.values()), "no position is before the start")
    _drain(disk, 1 << 16)


def _segment(number: int, groups: int) -> list[Piece]:
    pieces = [Piece(header("edge-0", number + 1))]
    for at in range(groups):
        lines = b'{"app":"a","segment":%d,"group":%d,"text":"%b"}\n' % (number, at, b"x" * (at * 1500)) * (at + 1)
        pieces.append(Piece(group(lines), lines))
    size, commits = sum(len(piece.data) for piece in pieces), b"".join(commit_line(piece.data) for piece in pieces)
    return [*pieces, Piece(seal(Seal(size, zlib.crc32(commits), len(pieces))))]


def _spoil(segment: list[Piece], step: int, where: int, what: int, more: bytes) -> None:
    """Does one thing to a segment; `where` is a piece of it."""
    at = where % len(segment)
    old = segment[at].data
    place = what * max(1, len(old)) // 256
    if step == 0 and old:  # another byte
        segment[at] = Piece(old[:place] + bytes([old[place] ^ (what | 1)]) + old[place + 1 :])
    elif step == 1:  # bytes that vanished
        segment[at] = Piece(old[:place])
    elif step == 2:  # bytes that nobody wrote
        segment.insert(at, Piece(more[: what + 1]))
    elif step == 3:  # the same once more
        segment.insert(at, segment[at])
    elif step == 4:  # zeros, as a block that never reached the disk
        segment[at] = Piece(bytes(len(old)))
    elif step == 5:  # nothing from here on
        del segment[at + 1 :]
        segment[at] = Piece(old[:place])
    elif step == 6:  # a commit line that vouches for something else
        segment.insert(at, Piece(b'\n{"commit":{"bytes":%d,"crc32":%d}}\n' % (what, where)))


def _drain(disk: SimulatedDisk, bytes_max: int) -> list[bytes]:
    """What a reader gives, group by group, until there is no more; its clock passes while the disk does not read."""
    now = 0.0
    reader = SegmentReader(disk, ROOT, _LOGS, clock=lambda: now)
    given: list[bytes] = []
    for _ in range(_READS_MAX):
        now += PATIENCE_S
        try:
            batch = reader.read(bytes_max)
        except OSError:
            continue
        if batch is None:
            return given
        given += _groups(batch.lines)
        reader.commit(batch)
    require(False, "reading comes to an end")
    return given


def _groups(lines: bytes) -> list[bytes]:
    """The lines of a batch in the groups that they were written in: equal lines that follow each other."""
    found: list[bytes] = []
    for line in lines.splitlines(keepends=True):
        copies = int(line.split(b'"group":')[1].split(b",")[0]) + 1 if b'"group":' in line else 1
        if found and found[-1][: len(line)] == line and len(found[-1]) < copies * len(line):
            found[-1] += line
        else:
            found.append(line)
    return found


def _require_all(given: list[bytes], wanted: list[bytes], unreadable: list[tuple[int, int]]) -> None:
    if unreadable:
        return  # which groups a block has is not looked into here
    rest = iter(given)
    require(all(any(lines == other for other in rest) for lines in wanted), "untouched groups are given, in order")


def _require_nothing_lost(disk: SimulatedDisk) -> None:
    notes = [disk.content(EDGE / info.name) for info in disk.files(EDGE) if info.name.endswith(TORN_ENDING)]
    for path, content in disk.removed:
        if path.suffix != ".ndjson":
            continue
        found = scan(content)
        require(not found.damaged, "a segment with damage is kept")
        tail = content[found.end :]
        require(not tail.strip(b"\0") or tail in notes, "what was cut off is kept")
        names = [info.name for info in disk.files(EDGE)]
        require(not any(name.startswith(path.name) and name.endswith(DAMAGE_ENDING) for name in names), "damage stays")


_SOUND = [header("edge-0", 1), group(b'{"app":"a"}\n'), group(b""), seal(Seal(99, 5, 2))]
_POSITIONS = (
    *(b'{"edge-0":[1,0],"edge-1":[3,211]}', b'{"edge-0":[0,99999]}\n', b'{"edge-0":[-1,-1]}', b"{}", b"[]", b""),
    *(b'{"edge-0":[Infinity,0]}', b'{"edge-0":[1e3,"7"]}', b'{"edge-0":[]}', b"[" * 1100, b'{"x":' + b"1" * 5000),
)
TARGETS = [
    Target(
        "segments",
        scanned,
        [b"", *_SOUND, b"".join(_SOUND), b"junk" + b"".join(_SOUND)[:-5], b'\n{"commit":{"bytes":9,"crc32":0}}\n'],
    ),
    Target("positions", positioned, [bytes([kind]) + text for kind in range(2) for text in _POSITIONS]),
    Target(
        "recovery",
        recovered,
        [bytes([shape, *(step, which, where, 90) * (1 + step % 3)]) for shape in (0, 27, 255) for step in range(8)
         for which, where in ((0, 1), (1, 2), (2, 0))],
        bytes_max=400,
    ),
]  # fmt: skip
