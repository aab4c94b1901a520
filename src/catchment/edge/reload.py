"""A change of `catchment.toml` without a restart: looks at the file once a second, and loads what changed.

A file has changed when its stamp - times, size, inode - is another one. Stamps are only ever compared for equality,
and the looks are timed by the event loop's own clock: a wall clock that jumps does nothing. A changed file is loaded
when two looks in a row find the same stamp. So a file that is still being written is left alone, and a file that is
written again right after a load has another time than the one that was loaded, however coarse the disk's times are.

A file that cannot be taken - mistakes in it, unreadable, gone - changes nothing: the settings in use stay, every
mistake is told once, and the next change is looked at like any other. Only the settings that decide about single
requests are taken: `RELOADED`. The others belong to what was built at the start, and are only named. They are compared
as the file has them, for in the environment of an edge process the supervisor has fixed where it listens.
"""

import asyncio
import logging
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from catchment.config import ConfigError
from catchment.settings import Settings
from catchment.watch import LOOK_S, Stamp, stamp

# The console takes its token by itself (api/access.py), and the core what is kept how long (retention.py).
RELOADED = frozenset(
    {"apps", "limits", "privacy", "retention", "ingest.trusted_proxies", "console.token", "console.token_hash"}
)

logger = logging.getLogger(__name__)


class SettingsWatch:
    """Watches one file for one process. `load`, and `sound`, which loads its last sound version, raise `ConfigError`;
    `settings` are those that the process was given; of the processes that watch one file, one `speaks`."""

    def __init__(
        self,
        path: Path,
        load: Callable[[], Settings],
        settings: Settings,
        *,
        sound: Callable[[], Settings],
        speaks: Callable[[], bool],
    ) -> None:
        self._path = path
        self._load = load
        self._sound = sound
        self._speaks = speaks
        self._seen: Stamp = None
        self._loaded: Stamp = None
        self._tables: dict[str, Any] | None = None
        self._put_off: list[str] = []
        self.settings = settings

    def start(self) -> Settings:
        """Loads the file, before the event loop runs; the settings to start with.

        Where it cannot be taken they are those of its last sound version, else those that the process was given: a
        worker that is started again while somebody edits the file must neither stay away, nor go back behind a change
        that was taken, like a key that works no more.
        """
        self._loaded = self._seen = stamp(self._path)
        try:
            self.settings = self._load()
            self._tables = _tables(self._path)
        except ConfigError as error:
            self._tell_broken(error)
            with suppress(ConfigError):
                self.settings = self._sound()
        return self.settings

    async def run(self, adopt: Callable[[Settings], None], look_too: Callable[[], None]) -> None:
        """Looks for ever; `adopt` gets the settings when other ones are to be used. `look_too` is called as often, for
        what else may change while the process runs."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                look_too()
                await self.look(adopt)
            except Exception:
                logger.exception("edge: defect while looking for changed settings; the ones in use stay")

    async def look(self, adopt: Callable[[Settings], None]) -> None:
        """One look: loads the file if it has changed and is left alone since."""
        found = stamp(self._path)
        settled = found == self._seen
        self._seen = found
        if found == self._loaded or not settled:
            return
        self._loaded = found
        try:
            settings = await asyncio.to_thread(self._load)
        except ConfigError as error:
            self._tell_broken(error)
            return
        if settings != self.settings:
            adopt(settings)
            self.settings = settings
        self._tell(logging.INFO, "edge: took %s as it is now", self._path)
        self._tell_put_off()

    def _tell_put_off(self) -> None:
        """Names the settings that are others than at the start and are not taken, when these become others."""
        tables = _tables(self._path)
        if self._tables is None:
            self._tables = tables
        names = _differences(self._tables, tables)
        if names and names != self._put_off:
            self._tell(logging.WARNING, "edge: the next start takes what has changed in %s", ", ".join(names))
        self._put_off = names

    def _tell_broken(self, error: ConfigError) -> None:
        what = "edge: the settings in use stay; mend the file, and it is taken within %.0f s. %s"
        self._tell(logging.ERROR, what, 2 * LOOK_S, error)

    def _tell(self, level: int, what: str, *values: object) -> None:
        logger.log(level if self._speaks() else logging.DEBUG, what, *values)


def _tables(path: Path) -> dict[str, Any]:
    """The file as it is; nothing where it has changed again and is no TOML now."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}


def _differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Names of the settings that differ and are not in `RELOADED`: `ingest.port`."""
    names: list[str] = []
    for table in sorted({*before, *after} - RELOADED):
        old, new = before.get(table, {}), after.get(table, {})
        fields = sorted({*old, *new}) if isinstance(old, dict) and isinstance(new, dict) else []
        names += [f"{table}.{field}" for field in fields if old.get(field) != new.get(field)]
    return [name for name in names if name not in RELOADED]
