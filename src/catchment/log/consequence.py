"""What damage that `verify` finds has cost, or will: of how far the core has come, and of the notes that it left.

The core notes damage beside the segment before it passes it (`reader`). So where it has passed and there is no note,
the groups were sound when they were loaded, and the damage came later. It writes nothing and locks nothing.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from catchment.log.disk import Disk
from catchment.log.findings import DAMAGE_ENDING
from catchment.log.position import START, DamagedPositions, load_positions
from catchment.log.segment import sequence_of
from catchment.log.verify import Finding

Consequence = Literal["none", "loaded", "not_loaded", "waits", "unknown"]


def consequences(disk: Disk, root: Path) -> Callable[[Finding], Consequence]:
    """Tells of each finding what became of the events in the groups that are not sound: there are "none", they were
    "loaded" before the damage, they were "not_loaded" and will not be, the segment still "waits" there to be
    read, or it is "unknown", for nobody knows how far the core had come. Raises `OSError`."""
    try:
        positions = load_positions(disk, root)
    except DamagedPositions:
        return lambda finding: "none" if finding.sound else "unknown"

    def of(finding: Finding) -> Consequence:
        if finding.sound:
            return "none"
        writer, name = finding.segment.split("/")
        names = [info.name for info in disk.files(root / writer)]
        if any(other.startswith(f"{name}.") and other.endswith(DAMAGE_ENDING) for other in names):
            return "not_loaded"
        position = positions.get(writer, START)
        if max((sequence_of(other) or 0 for other in names), default=0) < position.sequence:
            position = START  # the folder was replaced, and will be read from its start
        sequence = sequence_of(name) or 0
        passed = sequence < position.sequence or (sequence == position.sequence and finding.at < position.offset)
        return "loaded" if passed else "waits"

    return of
