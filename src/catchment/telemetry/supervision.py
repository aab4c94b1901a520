"""What the supervisor tells by its figures file, which is written when it changes: how often it started a part again,
and whether the settings would do for another start.
"""

import contextlib
from pathlib import Path

from catchment.telemetry import catalogue, files
from catchment.telemetry.figures import Counter

PROCESS = "supervisor"


class Supervision:
    """Since this object was made, which empties the folder of figures: a new server counts from 0."""

    def __init__(self, folder: Path) -> None:
        self._restarts = Counter()
        self._settings_sound = True
        self._file = files.FigureFile(folder, PROCESS, self._snapshot)
        with contextlib.suppress(OSError):  # `write` tells of a disk that takes nothing
            files.prepare(folder, empty=True)
        for part in ("edge", "core"):
            self._restarts.add((part,), 0)
        self._file.write()

    def restarted(self, part: str) -> None:
        """It was started again."""
        self._restarts.add((part,))
        self._file.write()

    def settings_are(self, *, sound: bool) -> None:
        """Another start would take them, or would fail."""
        self._settings_sound = sound
        self._file.write()

    def _snapshot(self) -> files.Snapshot:
        return files.snapshot(
            PROCESS,
            counters={catalogue.RESTARTS.name: list(self._restarts.values.items())},
            gauges={catalogue.SETTINGS_SOUND.name: [((), float(self._settings_sound))]},
        )


def settings_sound(folder: Path) -> bool:
    """What the supervisor tells of them; True where nothing is known."""
    told = files.read_one(folder, PROCESS)
    return not told or all(value for _, value in told.gauges.get(catalogue.SETTINGS_SOUND.name, ()))
