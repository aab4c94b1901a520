"""How figures get from the processes that count to the one that is scraped: a small file for each (decision 0008).

A process writes its file once a second and when it ends, from a thread of its own, so that a slow disk holds up no
request. Whoever has the same name later - the process that was started in the place of one that died - goes on from
what the file says, so a counter never goes back. What a process counted in the second before it was killed is lost:
the books (decision 0007) do not lose it, and figures are no books.

The folder is emptied when `serve` starts. A file that cannot be read counts nothing; none of this can fail a request.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from catchment.telemetry.figures import Labels

FOLDER = "figures"
WRITE_S = 1.0
ENDING = ".json"

logger = logging.getLogger(__name__)


class Snapshot(msgspec.Struct, frozen=True):
    """The figures of one process at `written_at`, seconds since 1970. A histogram is a count for each bucket, and a
    sum."""

    process: str
    pid: int
    parent_pid: int
    written_at: float
    counters: dict[str, list[tuple[Labels, float]]] = {}
    gauges: dict[str, list[tuple[Labels, float]]] = {}
    histograms: dict[str, list[tuple[Labels, list[int], float]]] = {}


class FigureFile:
    """The file of one process, which `gather` fills."""

    def __init__(self, folder: Path, process: str, gather: Callable[[], Snapshot]) -> None:
        self._path = folder / f"{process}{ENDING}"
        self._gather = gather
        self._stop = threading.Event()
        self._failed = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Writes from now on, once a second."""
        self._thread = threading.Thread(target=self._run, name="figures", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Writes for the last time."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def write(self) -> None:
        """Puts the figures in the place of those before; not synced, for a power cut ends what they tell of."""
        try:
            fresh = self._path.with_suffix(".new")
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(msgspec.json.encode(self._gather()))
            fresh.replace(self._path)
            self._failed = False
        except OSError as error:
            self._show_life()
            if not self._failed:
                logger.warning("figures: %s cannot be written; metrics stand still until it can: %s", self._path, error)
            self._failed = True

    def _run(self) -> None:
        while not self._stop.wait(WRITE_S):
            try:
                self.write()
            except Exception:  # a thread that ended would look like a process that hangs
                self._show_life()
                logger.exception("figures: defect while writing %s", self._path)
        self.write()

    def _show_life(self) -> None:
        """Without figures: this wants neither room nor a handle (`hanging`)."""
        with suppress(OSError):
            os.utime(self._path)


def read_one(folder: Path, process: str) -> Snapshot | None:
    """What the process of this name counted until now, or one that had the name before; None for nothing."""
    return _read(folder / f"{process}{ENDING}")


def read_all(folder: Path) -> Iterator[Snapshot]:
    """Of all processes since `serve` started, those too that have ended."""
    for path in sorted(folder.glob(f"*{ENDING}")):
        if found := _read(path):
            yield found


def prepare(folder: Path, *, empty: bool = False) -> None:
    """Makes the folder, and may empty it: then a new server counts from 0."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in folder.iterdir() if empty else ():
        path.unlink(missing_ok=True)


def snapshot(
    process: str,
    *,
    counters: dict[str, list[tuple[Labels, float]]],
    gauges: dict[str, list[tuple[Labels, float]]] | None = None,
    histograms: dict[str, list[tuple[Labels, list[int], float]]] | None = None,
) -> Snapshot:
    """Of this process, now."""
    return Snapshot(process, os.getpid(), os.getppid(), time.time(), counters, gauges or {}, histograms or {})


def _read(path: Path) -> Snapshot | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Snapshot)
    except (OSError, msgspec.MsgspecError):
        return None
