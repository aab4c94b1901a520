"""Edge processes that hang: stopped by somebody, stuck in a call that never ends, or with the interpreter held.

Such a process keeps its share of the connections, and none of them is ever answered. Each process writes its figures
once a second (`telemetry.files`); the group's parent, which knows its processes, looks whether they do, and kills one
that has not for `LOOKS_MAX` looks. Granian starts another one.

What counts are looks, not the time between them: where the whole machine was suspended, nobody looked. A look counts
only if the disk took a file just then that is larger than those of all processes together, so a disk that is full or
hangs kills nobody; and a process that cannot write shows that it lives in another way.
"""

import logging
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from catchment.telemetry import files
from catchment.watch import Stamp, stamp

LOOK_S = 2.0
LOOKS_MAX = 15
_PROBE = "probe"
_SPARE_BYTES = 64 * 1024

logger = logging.getLogger(__name__)


class HangWatch:
    """Watches the figures in `folder` of the processes that `workers` tells at each look; `kill` ends one."""

    def __init__(self, folder: Path, workers: Callable[[], Iterable[int]], kill: Callable[[int], None]) -> None:
        self._folder = folder
        self._workers = workers
        self._kill = kill
        self._stamps: dict[int, list[Stamp]] = {}
        self._looks: dict[int, int] = {}  # that found it as the look before did

    def start(self) -> None:
        """Looks from now on, in a thread, until this process ends."""
        threading.Thread(target=self._run, name="hang-watch", daemon=True).start()

    def look(self) -> None:
        """One look; kills those for which it was one too many."""
        written = list(self._written())
        stamps = {pid: [seen for found, seen in written if found.pid == pid] for pid in self._workers()}
        still = [pid for pid, seen in stamps.items() if pid in self._stamps and self._stamps[pid] == seen]
        self._stamps = stamps
        takes_files = bool(still) and self._disk_takes_files()
        self._looks = {pid: self._looks.get(pid, 0) + 1 for pid in still} if takes_files else {}
        for pid in [pid for pid, looks in self._looks.items() if looks >= LOOKS_MAX]:
            logger.error(
                "edge: process %d has not moved for %.0f s while the disk took files; it is killed, and another one"
                " takes its place",
                pid,
                LOOKS_MAX * LOOK_S,
            )
            del self._looks[pid]
            self._kill(pid)

    def _run(self) -> None:
        never = threading.Event()
        while not never.wait(LOOK_S):
            try:
                self.look()
            except Exception:
                logger.exception("edge: defect while looking for processes that hang")

    def _written(self) -> Iterable[tuple[files.Snapshot, Stamp]]:
        for path in self._folder.glob(f"*{files.ENDING}"):
            seen = stamp(path)
            if found := files.read_one(self._folder, path.stem):
                yield found, seen

    def _disk_takes_files(self) -> bool:
        probe = self._folder / _PROBE
        try:
            files.prepare(self._folder)
            sizes = [path.stat().st_size for path in self._folder.iterdir()]
            with probe.open("wb") as file:
                file.write(bytes(sum(sizes) + _SPARE_BYTES))
                file.flush()
                os.fsync(file.fileno())  # a process that starts waits for syncs, too
            probe.unlink()
        except OSError:
            return False
        return True
