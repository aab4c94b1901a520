"""The bytes of a segment: NDJSON in groups, each ended by a commit line that vouches for it. Pure.

    {"segment":{"version":1,"writer":"edge-0","sequence":7}}
    {"commit":{"bytes":57,"crc32":1234567890}}
    {"app":"default","source":"moesif",...}
    {"app":"default","source":"batch",...}
    {"commit":{"bytes":1043,"crc32":987654321}}
    {"sealed":{"bytes":1188,"crc32":2345678901,"groups":2}}
    {"commit":{"bytes":56,"crc32":345678901}}

A group is what one fsync made durable: all appends that waited for it. `bytes` and `crc32` are those of the group's
lines, line ends included, without the commit line. No other line starts like a commit line, because a record starts
with `{"app":` and has no line break inside. Header, seal and commit lines are JSON too, so a reader that does not care
for groups may treat a segment as plain NDJSON and skip the lines without `app`.

The seal is the last group of a segment that its writer ended in order, and vouches for all the bytes and groups before
it: its `crc32` is that of their commit lines, each of which vouches for its own group, so that no byte is summed twice.
A segment without a seal ended with its writer's death, or with a failure of the disk.
"""

import re
import zlib
from collections.abc import Iterable
from typing import NamedTuple

from catchment.log.disk import FileInfo

VERSION = 1
WRITER_PREFIX = "edge-"
_HEADER_START = b'{"segment":'
_VERSION = re.compile(rb'\{"segment":\{"version":(\d{1,9})\D')
HEADER_BYTES_MAX = 256  # with its commit line, in every version of the format
SEAL_START = b'{"sealed":'
SEAL_BYTES_MAX = 256  # with its commit line
_COMMIT_MARK = b'\n{"commit":'
_COMMIT = re.compile(rb'\n\{"commit":\{"bytes":(\d{1,19}),"crc32":(\d{1,10})\}\}\n')
_SEAL = re.compile(rb'\{"sealed":\{"bytes":(\d{1,19}),"crc32":(\d{1,10}),"groups":(\d{1,19})\}\}\n')


class Scan(NamedTuple):
    """The sound groups in some bytes.

    `end` is where the last of them ends; `groups` are the spans of their lines; `damaged` the spans between them that
    are in no sound group. What stands behind `end` is not judged here: it may be a group that is being written, one
    that was torn, or damage.
    """

    end: int
    groups: list[tuple[int, int]]
    damaged: list[tuple[int, int]]


class Seal(NamedTuple):
    """What stands before the seal: so many bytes, in so many groups, the header among them, and the CRC-32 of their
    commit lines."""

    size: int
    crc32: int
    groups: int


def header(writer: str, sequence: int) -> bytes:
    """The first group of a segment."""
    return group(b'{"segment":{"version":%d,"writer":"%s","sequence":%d}}\n' % (VERSION, writer.encode(), sequence))


def seal(what: Seal) -> bytes:
    """The last group of a segment."""
    return group(b'{"sealed":{"bytes":%d,"crc32":%d,"groups":%d}}\n' % what)


def group(*appends: bytes) -> bytes:
    """The lines of all appends with the commit line behind them; copied once, for a group may have many megabytes."""
    size = crc32 = 0
    for lines in appends:
        size += len(lines)
        crc32 = zlib.crc32(lines, crc32)
    return b"".join((*appends, b'{"commit":{"bytes":%d,"crc32":%d}}\n' % (size, crc32)))


def commit_line(data: bytes) -> bytes:
    """The last line of a group."""
    return data[data.rfind(b"\n", 0, -1) + 1 :]


def scan(data: bytes) -> Scan:
    """Finds the sound groups in `data`, which must begin where a group begins.

    A commit line says how many bytes it vouches for, so a group is found again behind any damage: it is the bytes that
    its own commit line says, wherever they begin.
    """
    start, search, groups, damaged = 0, 0, [], []
    while (found := data.find(_COMMIT_MARK, search)) >= 0:
        search = found + 1
        commit = _COMMIT.match(data, found)
        if commit is None:
            continue
        lines_end, size = found + 1, int(commit[1])
        begin = lines_end - size
        if begin < start or zlib.crc32(memoryview(data)[begin:lines_end]) != int(commit[2]):
            continue
        if begin > start:
            damaged.append((start, begin))
        groups.append((begin, lines_end))
        start = search = commit.end()
    return Scan(start, groups, damaged)


def is_torn_group(tail: bytes, offset: int) -> bool:
    """Whether what stands behind the last sound group, from `offset` on, can be a part of one group that was never
    synced.

    A writer syncs each group before it writes the next, so a power cut, a kill or a failed write spoils the last group
    only, and a commit line is where that ends. Anything behind a commit line, or behind the header, which is short,
    says that there was a later group, so that the one before it had been synced and then was damaged.
    """
    if offset == 0 and len(tail) > HEADER_BYTES_MAX:
        return False
    found = tail.find(_COMMIT_MARK)
    if found < 0:
        return True
    line_end = tail.find(b"\n", found + 1)
    return line_end < 0 or line_end + 1 == len(tail)


def holds_records(lines: bytes) -> bool:
    """Whether these are lines of a sender's, not a header or a seal."""
    return not lines.startswith(_HEADER_START) and seal_of(lines) is None


def version_of(data: bytes) -> int | None:
    """The version of the format, by the first bytes of a segment; None where they are no sound header.

    The header is a group of the same form in every version, so that its checksum is looked at before it is believed:
    else one damaged byte would make a later version of it, which nobody reads.
    """
    begin, end = next(iter(scan(data[:HEADER_BYTES_MAX]).groups), (0, 0))
    found = _VERSION.match(data, begin, end)
    return int(found[1]) if found and begin == 0 else None


def seal_of(lines: bytes) -> Seal | None:
    """The seal that is in the lines of a group, if it is one."""
    found = _SEAL.fullmatch(lines)
    return Seal(*map(int, found.groups())) if found else None


def segment_name(sequence: int) -> str:
    """Names sort like sequences."""
    return f"{sequence:012d}.ndjson"


def sequence_of(name: str) -> int | None:
    """The sequence of a segment's file name; None for any other file."""
    stem, dot, ending = name.partition(".")
    return int(stem) if dot and ending == "ndjson" and stem.isdigit() else None


def segments_of(infos: Iterable[FileInfo]) -> list[tuple[int, FileInfo]]:
    """The segments among the files of a folder, by sequence, in the order of the files."""
    found = ((sequence_of(info.name), info) for info in infos)
    return [(sequence, info) for sequence, info in found if sequence is not None]
