"""How far the core has come in each folder of the log: one small file, replaced as a whole.

    {"edge-0":[8,1620],"edge-1":[3,211]}
    {"commit":{"bytes":37,"crc32":2519492415}}

It is a group of one line, as in a segment, so that a damaged file is never taken for a position further on, behind
which segments would be removed.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from catchment.log.disk import Disk
from catchment.log.segment import group, scan

POSITION_NAME = "position.json"
_BYTES_MAX = 1 << 24
_NO_POSITIONS = (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)

logger = logging.getLogger(__name__)


class Position(NamedTuple):
    """Up to `offset` bytes of the segment `sequence`, and all of those before it, are done with."""

    sequence: int
    offset: int


START = Position(0, 0)


class DamagedPositions(Exception):
    """The file is not what was written."""


def save_positions(disk: Disk, root: Path, positions: Mapping[str, Position]) -> None:
    """Durably replaces the file."""
    line = json.dumps(positions, separators=(",", ":")).encode() + b"\n"
    disk.replace(root / POSITION_NAME, group(line))


def load_positions(disk: Disk, root: Path) -> dict[str, Position]:
    """By folder; none if there is no file. Raises `DamagedPositions`."""
    try:
        data = disk.read(root / POSITION_NAME, 0, _BYTES_MAX)
    except FileNotFoundError:
        return {}
    found = scan(data)
    if len(found.groups) == 1 and not found.damaged and found.end == len(data):
        [(begin, end)] = found.groups
        data = data[begin:end]
    elif b"\n" in data:
        raise DamagedPositions(f"{POSITION_NAME} does not fit its checksum")
    try:
        positions = {str(writer): Position(int(at[0]), int(at[1])) for writer, at in json.loads(data).items()}
    except _NO_POSITIONS as error:  # a file of an older version has no checksum
        raise DamagedPositions(f"{POSITION_NAME} holds no positions") from error
    if any(min(position) < 0 for position in positions.values()):
        raise DamagedPositions(f"{POSITION_NAME} holds a position before the start")
    return positions
