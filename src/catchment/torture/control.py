"""What the torturer tells the processes of the server: a few numbers in a file that all of them have mapped.

Each process reads them with every look at the clock and every write, so that costs one look at memory. A number is
eight aligned bytes, which are never seen half written. It knows nothing of the program, for `part` must change the
process before any of it is imported.
"""

import mmap
import os
from enum import IntEnum
from pathlib import Path

CONTROL_FILE = "CATCHMENT_TORTURE_CONTROL"  # the environment variable that names the file
_NUMBER_BYTES = 8


class Dial(IntEnum):
    """What can be told, each 0 where nothing is wrong."""

    CLOCK_US = 0  # how far the clock is off, in microseconds
    SYNC_MS = 1  # how long each sync of the log takes, in milliseconds
    SYNC_ERROR = 2  # the errno with which each sync of the log fails
    WRITE_ERROR = 3  # the errno with which each write into the log fails, after half of it


class Control:
    """The file, mapped; it is made if need be."""

    def __init__(self, file: Path) -> None:
        self.file = file
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(handle, len(Dial) * _NUMBER_BYTES)
            self._numbers = memoryview(mmap.mmap(handle, 0)).cast("q")
        finally:
            os.close(handle)

    def __getitem__(self, dial: Dial) -> int:
        return self._numbers[dial]

    def __setitem__(self, dial: Dial, number: int) -> None:
        self._numbers[dial] = number

    def heal(self) -> None:
        """Nothing is wrong any more."""
        for dial in Dial:
            self[dial] = 0
