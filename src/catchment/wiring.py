"""The one place that constructs and connects. No other module builds another room's objects.

The edge's half is in `edge_wiring`, which imports nothing of the core.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from starlette.types import ASGIApp

from catchment import config
from catchment.api.access import Access
from catchment.api.app import OpenedCore, core_app
from catchment.api.requests import watched
from catchment.api.shield import Hosts, Shield
from catchment.backup import snapshot
from catchment.backup.snapshot import Snapshot
from catchment.backup.sweeping import Sweep
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
from catchment.parts import RUN_HASH
from catchment.replay import Replay
from catchment.retention import Retention
from catchment.settings import Settings
from catchment.store.clickhouse import ClickHouseStore
from catchment.store.expiry import Expiry
from catchment.store.store import StoreError
from catchment.telemetry.tracing import open_tracing
from catchment.watch import FileWatch

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


def open_store(
    settings: Settings,
    data_dir: Path,
    *,
    give_up: Callable[[], None] | None = None,
    leave: Callable[[], None] | None = None,
) -> ClickHouseStore:
    """The store, with its schema up to date. Raises `StoreError`, and of it `OtherVersion` where waiting is no use.
    `give_up` ends the process where a part is broken, without it nobody looks, so not for long; `leave` ends it where
    the engine would hold up its end."""
    store = ClickHouseStore(data_dir / STORE_FOLDER, settings.sql)
    if give_up:
        store.watch_parts(give_up)  # before it is migrated, which may take long, for the engine merges already
    try:
        store.migrate()
    except StoreError:
        store.close()  # however long the engine takes: why there is no store must be told
        raise
    except BaseException:
        if leave:
            store.leave_at_close(leave)
        store.close()
        raise
    if leave:
        store.leave_at_close(leave)
    return store


def core(settings: Settings, data_dir: Path) -> ASGIApp:
    """The core's application, which starts the loader and the retention when it starts. Raises `StoreError` where the
    store cannot be opened."""
    tracing = open_tracing("core", os.environ, speaks=True)
    snapshot.clear_stale(data_dir)
    # Either ends at once, whatever is under way; by then all else has ended where it is in order.
    store = open_store(settings, data_dir, give_up=partial(os._exit, 1), leave=partial(os._exit, 0))
    log = log_reader(settings, data_dir)
    loader = Loader(log, store, settings.loader, tracing=tracing)
    take = partial(snapshot.take_for_command, store, loader, data_dir)
    watch = FileWatch(data_dir / config.FILE_NAME)
    access = Access(settings.console, os.environ.get(RUN_HASH), watch, lambda: config.load(data_dir).console)
    app = core_app(
        access,
        settings,
        data_dir,
        open_core=lambda: OpenedCore(store, log, loader, tracing),
        openapi=document(),
        take_snapshot=take,
        beside=[retention(data_dir, store, loader).run, Sweep(data_dir).run],
    )
    hosts = Hosts([*settings.console.hosts, settings.console.host])
    return watched(Shield(app, hosts, tls=bool(settings.ingest.tls_cert)))


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


def retention(data_dir: Path, store: ClickHouseStore, loader: Loader) -> Retention:
    """What removes from the store what is older than the settings keep it."""

    def known_moment() -> float:
        with store.asking() as ask:
            return float(ask("known_moment")[0]["seconds"])

    return Retention(partial(config.in_use, data_dir), Expiry(store.open_handle, loader.pause).remove, known_moment)


def claim_core(data_dir: Path) -> bool:
    """Whether this process may open the store and read the log; held until it ends."""
    return hold(data_dir / CORE_LOCK) is not None
