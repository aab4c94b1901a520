"""How often the supervisor started a part again; its figures file, written when that changes."""

import contextlib
from pathlib import Path

from catchment.telemetry import catalogue, files
from catchment.telemetry.figures import Counter

PROCESS = "supervisor"


class Restarts:
    """Since this object was made, which empties the folder of figures: a new server counts from 0."""

    def __init__(self, folder: Path) -> None:
        self._counter = Counter()
        self._file = files.FigureFile(folder, PROCESS, self._snapshot)
        with contextlib.suppress(OSError):  # `write` tells of a disk that takes nothing
            files.prepare(folder, empty=True)
        for part in ("edge", "core"):
            self._counter.add((part,), 0)
        self._file.write()

    def add(self, part: str) -> None:
        """It was started again."""
        self._counter.add((part,))
        self._file.write()

    def _snapshot(self) -> files.Snapshot:
        return files.snapshot(PROCESS, counters={catalogue.RESTARTS.name: list(self._counter.values.items())})
