"""The one place that constructs and connects. No other module builds another room's objects.

The edge's half is in `edge_wiring`, which imports nothing of the core.
"""

from functools import partial
from pathlib import Path

from starlette.applications import Starlette

from catchment.api.app import core_app
from catchment.edge.agents import agent_parser
from catchment.edge.lookups import Lookups
from catchment.edge.places import place_finder
from catchment.edge_wiring import LOG_FOLDER, dialects, edge_app, log_writer
from catchment.loader import Loader
from catchment.log.disk import LocalDisk
from catchment.log.log import LogReader
from catchment.log.reader import SegmentReader
from catchment.openapi import document
from catchment.replay import Replay
from catchment.settings import Settings
from catchment.store.clickhouse import ClickHouseStore
from catchment.store.store import Store

__all__ = [
    "LOG_FOLDER",
    "claim_core",
    "core",
    "dialects",
    "edge_app",
    "log_reader",
    "log_writer",
    "open_store",
    "replay",
]

STORE_FOLDER = "store"
CORE_LOCK = "core.lock"


def replay(settings: Settings, data_dir: Path) -> Replay:
    """What decodes rejections again and appends to the log, beside the edge processes or while nothing runs."""
    lookups = Lookups(agent_parser(), place_finder(settings.geo))
    return Replay(settings, dialects(settings, replaying=True), lookups.fill, partial(log_writer, settings, data_dir))


def log_reader(settings: Settings, data_dir: Path) -> LogReader:
    """The reading half of the log."""
    return SegmentReader(LocalDisk(), data_dir / LOG_FOLDER, settings.log)


def open_store(settings: Settings, data_dir: Path) -> Store:
    """The store, with its schema up to date."""
    store = ClickHouseStore(data_dir / STORE_FOLDER, settings.sql)
    store.migrate()
    return store


def core(settings: Settings, data_dir: Path) -> Starlette:
    """The core's application, which starts the loader when it starts. Raises `StoreError` where the store cannot be
    opened."""
    store, log = open_store(settings, data_dir), log_reader(settings, data_dir)
    return core_app(settings, data_dir, lambda: (store, log, Loader(log, store, settings.loader)), document())


def claim_core(data_dir: Path) -> bool:
    """Whether this process may open the store and read the log; held until it ends."""
    return LocalDisk().try_lock(data_dir / CORE_LOCK) is not None
