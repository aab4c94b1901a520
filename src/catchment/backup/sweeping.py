"""Removes, in the running core, the snapshots of backups that were killed: they hold what retention removes.

A backup that is under way holds the lock, and loses nothing.
"""

import logging
import threading
from pathlib import Path

from catchment.backup import snapshot

EVERY_S = 60.0

logger = logging.getLogger(__name__)


class Sweep:
    """One thread calls `run`."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    def run(self, stop: threading.Event) -> None:
        """Looks now and then, until `stop` is set."""
        while not stop.wait(EVERY_S):
            try:
                if snapshot.clear_stale(self._data_dir):
                    logger.warning("backup: removed what a backup held that was killed; it has to be made again")
            except OSError as error:
                logger.warning("backup: what a killed backup holds cannot be removed now: %s", error)
