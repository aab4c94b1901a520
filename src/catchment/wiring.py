"""The one place that constructs and connects. No other module builds another room's objects.

The edge's half is in `edge_wiring`, which imports nothing of the core.
"""

from functools import partial
from pathlib import Path

from starlette.applications import Starlette

from catchment import config
from catchment.api.app import core_app
from catchment.backup import snapshot
from catchment.backup.snapshot import Snapshot
from catchment.edge.agents import agent_parser
from catchment.edge.lookups import Lookups
from catchment.edge.places import place_finder
from catchment.edge_wiring import LOG_FOLDER, dialects, edge_app, log_writer
from catchment.holding import CORE_LOCK, hold
from catchment.loader import Loader
from catchment.log.disk import LocalDisk
from catchment.log.log import LogReader
from catchment.log.reader import SegmentReader
from catchment.openapi import document
from catchment.replay import Replay
from catchment.settings import Settings
from catchment.store.clickhouse import ClickHouseStore

__all__ = [
    "LOG_FOLDER",
    "claim_core",
    "core",
    "dialects",
    "edge_app",
    "log_reader",
    "log_writer",
    "open_as_it_is",
    "open_store",
    "replay",
    "snapshot_of_stopped",
]

STORE_FOLDER = "store"


def replay(settings: Settings, data_dir: Path) -> Replay:
    """What decodes rejections again and appends to the log, beside the edge processes or while nothing runs."""
    lookups = Lookups(agent_parser(), place_finder(settings.geo))
    return Replay(settings, dialects(settings, replaying=True), lookups.fill, partial(log_writer, settings, data_dir))


def log_reader(settings: Settings, data_dir: Path) -> LogReader:
    """The reading half of the log."""
    return SegmentReader(LocalDisk(), data_dir / LOG_FOLDER, settings.log)


def open_store(settings: Settings, data_dir: Path) -> ClickHouseStore:
    """The store, with its schema up to date."""
    store = ClickHouseStore(data_dir / STORE_FOLDER, settings.sql)
    store.migrate()
    return store


def core(settings: Settings, data_dir: Path) -> Starlette:
    """The core's application, which starts the loader when it starts. Raises `StoreError` where the store cannot be
    opened."""
    snapshot.clear_stale(data_dir)
    store, log = open_store(settings, data_dir), log_reader(settings, data_dir)
    loader = Loader(log, store, settings.loader)
    take = partial(snapshot.take, store, loader, data_dir)
    return core_app(settings, data_dir, lambda: (store, log, loader), document(), take)


def open_as_it_is(data_dir: Path) -> tuple[ClickHouseStore, LogReader, Loader]:
    """The store and the log of a folder with settings, with nothing migrated or loaded."""
    settings = config.in_use(data_dir)
    store, log = ClickHouseStore(data_dir / STORE_FOLDER, settings.sql), log_reader(settings, data_dir)
    return store, log, Loader(log, store, settings.loader)


def snapshot_of_stopped(data_dir: Path) -> Snapshot:
    """A snapshot of a data dir that nothing runs on; its schema stays as it is. Raises `StoreError` for a store of a
    later version."""
    store, log, loader = open_as_it_is(data_dir)
    try:
        current = store.is_current()
        if current:
            store.migrate()  # only the views, to count with
        return snapshot.take(store, loader, data_dir, counted=current)
    finally:
        log.close()
        store.close()


def claim_core(data_dir: Path) -> bool:
    """Whether this process may open the store and read the log; held until it ends."""
    return hold(data_dir / CORE_LOCK) is not None
