"""The one place that constructs and connects. No other module builds another room's objects."""

import gc
import os
import signal
import threading
from asyncio import AbstractEventLoop
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from catchment import config, pseudonym
from catchment.api.app import core_app
from catchment.dialects.batch import Batch
from catchment.dialects.dialect import Dialect
from catchment.dialects.moesif import Moesif
from catchment.dialects.moloco import Moloco
from catchment.edge import answers
from catchment.edge.agents import agent_parser
from catchment.edge.answers import Answers
from catchment.edge.app import EdgeApp
from catchment.edge.lookups import Lookups
from catchment.edge.places import place_finder
from catchment.edge.rates import Rates
from catchment.edge.reload import SettingsWatch
from catchment.loader import Loader
from catchment.log.disk import LocalDisk
from catchment.log.log import LogReader, LogWriter
from catchment.log.reader import SegmentReader
from catchment.log.writer import SegmentWriter
from catchment.maintenance import MaintenanceWatch
from catchment.openapi import document
from catchment.replay import Replay
from catchment.settings import Settings
from catchment.store.clickhouse import ClickHouseStore
from catchment.store.room import PartsWatch

LOG_FOLDER = "log"
STORE_FOLDER = "store"
RATES_FOLDER = "rates"
CORE_LOCK = "core.lock"
RELOAD_LOCK = "reload.lock"
PARENT_PID = "CATCHMENT_PARENT_PID"
_PARENT_CHECK_S = 0.5


def dialects(settings: Settings, *, replaying: bool = False) -> tuple[Dialect, ...]:
    """All vendors; Moesif is last, for its paths may stand behind any prefix, and browsers need its CORS headers. For
    `replaying`, bodies already have hashes in place of credentials."""
    privacy = settings.privacy
    hashed = pseudonym.keyed_hash(privacy.hash_key) if privacy.credentials == "hash" else pseudonym.plain
    if replaying:
        hashed = pseudonym.keeping_hashes(hashed)
    return (
        Batch(settings.apps, settings.limits),
        Moloco(settings.apps, settings.limits),
        Moesif(settings.apps, settings.limits, pseudonym=hashed, credential_headers=privacy.credential_headers),
    )


def edge_app(data_dir: Path, parent: int, settings: Settings) -> Any:
    """The `EdgeApp` of one edge process, made inside it; `parent` is the process that it was forked from, and
    `settings` are those that its group was started with."""
    exit_with_parent(parent)
    speaks = LocalDisk().try_lock(data_dir / RELOAD_LOCK) is not None  # of many workers, one tells what all find

    def load() -> Settings:
        loaded = config.load(data_dir)
        if speaks:
            config.keep_sound(data_dir)
        return loaded

    watch = SettingsWatch(data_dir / config.FILE_NAME, load, settings, speaks=speaks)
    settings = watch.start()
    app = EdgeApp(
        watch,
        dialects,
        Lookups(agent_parser(), place_finder(settings.geo)),
        partial(log_writer, settings, data_dir),
        maintenance=MaintenanceWatch(data_dir),
        rates=Rates(data_dir / RATES_FOLDER, settings.apps),
        answers=Answers(data_dir / answers.FILE_NAME, settings.limits),
    )
    # What start-up made stays for good: without it to look through, a full collection takes less than 1 ms, not 35.
    gc.collect()
    gc.freeze()
    return app


def replay(settings: Settings, data_dir: Path) -> Replay:
    """What decodes rejections again and appends to the log, beside the edge processes or while nothing runs."""
    lookups = Lookups(agent_parser(), place_finder(settings.geo))
    return Replay(settings, dialects(settings, replaying=True), lookups.fill, partial(log_writer, settings, data_dir))


def log_writer(settings: Settings, data_dir: Path, loop: AbstractEventLoop) -> LogWriter:
    """A writing half of the log, in a folder of its own; for an event loop."""
    return SegmentWriter(LocalDisk(), data_dir / LOG_FOLDER, settings.log, loop=loop)


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
    store, log = open_store(settings, data_dir), log_reader(settings, data_dir)
    watch = PartsWatch(store.broken_parts, partial(os.kill, os.getpid(), signal.SIGTERM))
    loader = Loader(log, store, settings.loader, watch.look)
    return core_app(settings, data_dir, lambda: (store, log, loader), document())


def claim_core(data_dir: Path) -> bool:
    """Whether this process may open the store and read the log; held until it ends."""
    return LocalDisk().try_lock(data_dir / CORE_LOCK) is not None


def exit_with_parent(parent: int | None = None) -> None:
    """Ends this process, in order, when the one that started it is gone: an orphan would hold the port.

    The parent tells who it is, through `PARENT_PID` or the argument: it may have gone before this process could look.
    """
    expected = parent or int(os.environ.get(PARENT_PID) or os.getppid())

    def watch() -> None:
        while not done.wait(_PARENT_CHECK_S):
            if os.getppid() != expected:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    done = threading.Event()
    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
