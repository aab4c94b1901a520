"""`python -m catchment.torture.part NAME ...`: a part of the server in a process whose clock and disk can be spoiled.

It changes the process first and then runs `python -m catchment NAME ...`, so whatever the program keeps of `time.time`
or `os.write` is the changed one. The edge's workers are forked from this process and have the same. Only Python's own
calls are changed: the engine and the server underneath keep the true clock and the true disk.
"""

import os
import runpy
import sys
import time
from pathlib import Path
from typing import Any

from catchment.torture.control import CONTROL_FILE, Control, Dial

LOG_FOLDER = "log"


class BadMachine:
    """Stands in for the clock and the disk of this process, as `control` says."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._of_log: set[int] = set()  # open files below the folder of the log, and that folder

    def install(self) -> None:
        """Puts itself in the place of the system's calls."""
        stand_ins: dict[Any, dict[str, Any]] = {
            time: {"time": self._time(time.time), "time_ns": self._time_ns(time.time_ns)},
            os: {
                "open": self._open(os.open),
                "close": self._close(os.close),
                "write": self._write(os.write),
                "fsync": self._sync(os.fsync),
                "fdatasync": self._sync(getattr(os, "fdatasync", os.fsync)),
            },
        }
        for module, functions in stand_ins.items():
            for name, stand_in in functions.items():
                setattr(module, name, stand_in)

    def _time(self, real: Any) -> Any:
        return lambda: real() + self._control[Dial.CLOCK_US] / 1e6

    def _time_ns(self, real: Any) -> Any:
        return lambda: real() + self._control[Dial.CLOCK_US] * 1000

    def _open(self, real: Any) -> Any:
        def opened(path: Any, *arguments: Any, **named: Any) -> int:
            handle: int = real(path, *arguments, **named)
            if not isinstance(path, int) and LOG_FOLDER in Path(os.fsdecode(path)).parts:
                self._of_log.add(handle)
            return handle

        return opened

    def _close(self, real: Any) -> Any:
        def closed(handle: int) -> None:
            self._of_log.discard(handle)
            real(handle)

        return closed

    def _write(self, real: Any) -> Any:
        def written(handle: int, data: Any) -> int:
            code = self._control[Dial.WRITE_ERROR]
            if code and handle in self._of_log:
                real(handle, memoryview(data)[: len(data) // 2])  # a full disk takes a part
                raise OSError(code, os.strerror(code))
            count: int = real(handle, data)
            return count

        return written

    def _sync(self, real: Any) -> Any:
        def synced(handle: int) -> None:
            if handle in self._of_log:
                time.sleep(self._control[Dial.SYNC_MS] / 1000)
                code = self._control[Dial.SYNC_ERROR]
                if code:
                    raise OSError(code, os.strerror(code))
            real(handle)

        return synced


def main() -> None:
    """Runs the program with this process's arguments."""
    BadMachine(Control(Path(os.environ[CONTROL_FILE]))).install()
    runpy.run_module("catchment", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    sys.argv[0] = "catchment"
    main()
