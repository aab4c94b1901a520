"""The bytes of a segment: NDJSON in groups, each ended by a commit line that vouches for it. Pure.

    {"segment":{"version":1,"writer":"edge-0","sequence":7}}
    {"commit":{"bytes":57,"crc32":1234567890}}
    {"app":"default","source":"moesif",...}
    {"app":"default","source":"batch",...}
    {"commit":{"bytes":1043,"crc32":987654321}}

A group is what one fsync made durable: all appends that waited for it. `bytes` and `crc32` are those of the group's
lines, line ends included, without the commit line. No other line starts like a commit line, because a record starts
with `{"app":` and has no line break inside. Header and commit lines are JSON too, so a reader that does not care for
groups may treat a segment as plain NDJSON and skip the lines without `app`.
"""

import re
import zlib
from typing import NamedTuple

VERSION = 1
WRITER_PREFIX = "edge-"
_COMMIT_MARK = b'\n{"commit":'
_COMMIT = re.compile(rb'\n\{"commit":\{"bytes":(\d{1,19}),"crc32":(\d{1,10})\}\}\n')
_COMMIT_BYTES_MAX = len(b'\n{"commit":{"bytes":,"crc32":}}\n') + 19 + 10


class Scan(NamedTuple):
    """The whole groups at the start of some bytes.

    `end` is where the last whole group ends; `groups` are the spans of the sound ones' lines; `damaged` the spans,
    commit line included, of those whose lines are not what their commit line says.
    """

    end: int
    groups: list[tuple[int, int]]
    damaged: list[tuple[int, int]]


def header(writer: str, sequence: int) -> bytes:
    """The first group of a segment."""
    return group(b'{"segment":{"version":%d,"writer":"%s","sequence":%d}}\n' % (VERSION, writer.encode(), sequence))


def group(lines: bytes) -> bytes:
    """`lines` with the commit line behind them."""
    return lines + b'{"commit":{"bytes":%d,"crc32":%d}}\n' % (len(lines), zlib.crc32(lines))


def scan(data: bytes) -> Scan:
    """Finds the whole groups at the start of `data`, which must begin where a group begins."""
    start, groups, damaged = 0, [], []
    while True:
        found = data.find(_COMMIT_MARK, start)
        if found < 0:
            break
        commit = _COMMIT.match(data, found)
        if commit is None:
            line_end = data.find(b"\n", found + 1)
            if line_end < 0 and len(data) - found < _COMMIT_BYTES_MAX:
                break  # the commit line itself is not all there yet
            end = line_end + 1 if line_end >= 0 else len(data)
            damaged.append((start, end))
            start = end
            continue
        lines_end, end = found + 1, commit.end()
        lines = memoryview(data)[start:lines_end]
        sound = len(lines) == int(commit[1]) and zlib.crc32(lines) == int(commit[2])
        (groups.append((start, lines_end)) if sound else damaged.append((start, end)))
        start = end
    return Scan(start, groups, damaged)


def segment_name(sequence: int) -> str:
    """Names sort like sequences."""
    return f"{sequence:012d}.ndjson"


def sequence_of(name: str) -> int | None:
    """The sequence of a segment's file name; None for any other file."""
    stem, dot, ending = name.partition(".")
    return int(stem) if dot and ending == "ndjson" and stem.isdigit() else None
