"""Whether another start would take `catchment.toml` as it is now.

A server goes on with the settings that it has when somebody breaks the file, and its parts are started again with the
last sound version. `serve` itself takes no such copy: whoever starts it is to see the mistake. So the next start would
fail, perhaps months later at a reboot, and it is told while those who broke the file are still there.

It is the supervisor that looks, because its environment and command line are those of the next start; its parts were
given some values that hide what the file has. The edge names each mistake that concerns it (`edge.reload`).
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from catchment.config import FILE_NAME, ConfigError
from catchment.settings import Settings
from catchment.watch import FileWatch

AGAIN_S = 10.0  # what a file with mistakes names may be mended without the file

logger = logging.getLogger(__name__)


class SoundnessWatch:
    """`load` reads the settings as a start does, and raises `ConfigError`; `tell` gets what was found when that
    changes. `settings` are those that were loaded before: sound ones."""

    def __init__(
        self,
        data_dir: Path,
        settings: Settings,
        load: Callable[[], object],
        tell: Callable[[bool], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        named = (settings.ingest.tls_cert, settings.ingest.tls_key, settings.geo.database)
        self._files = FileWatch(data_dir / FILE_NAME, *[Path(name) for name in named if name])
        self._data_dir = data_dir
        self._load = load
        self._tell = tell
        self._clock = clock
        self._mistakes: list[str] = []
        self._again_at = 0.0

    def look(self) -> None:
        """One look, to be called once a second: loads what has changed and is left alone since."""
        if self._files.changed() or (self._mistakes and self._clock() >= self._again_at):
            self._again_at = self._clock() + AGAIN_S
            before, self._mistakes = self._mistakes, self._found()
            if bool(before) != bool(self._mistakes):
                self._tell(not self._mistakes)

    def _found(self) -> list[str]:
        try:
            self._load()
        except ConfigError as error:
            if error.problems != self._mistakes:
                logger.error(
                    "%s. The settings in use stay, but the next start will fail until that is mended:"
                    " `catchment config check --data-dir %s` shows where",
                    error.summary,
                    self._data_dir,
                )
            return error.problems
        if self._mistakes:
            logger.info("%s is sound again: the next start will take it", self._data_dir / FILE_NAME)
        return []
