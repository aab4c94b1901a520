"""The edge's half of `wiring`: what constructs and connects the edge, and imports nothing of the core.

It is a file of its own for the start's sake: what an edge process imports is the time until the first request is
answered, and the store's libraries would double it (docs/backup.md, tests/test_start.py).
"""

import gc
import os
from asyncio import AbstractEventLoop
from functools import partial
from pathlib import Path
from typing import Any

from catchment import config, pseudonym
from catchment.dialects.batch import Batch
from catchment.dialects.dialect import Dialect
from catchment.dialects.moesif import Moesif
from catchment.dialects.moloco import Moloco
from catchment.edge import answers
from catchment.edge.agents import agent_parser
from catchment.edge.answers import Answers
from catchment.edge.app import EdgeApp
from catchment.edge.lookups import Lookups
from catchment.edge.observer import Observer
from catchment.edge.places import place_finder
from catchment.edge.rates import Rates
from catchment.edge.reload import SettingsWatch
from catchment.edge.speaking import Speaker
from catchment.log.disk import LocalDisk
from catchment.log.log import LogWriter
from catchment.log.room import RoomWatch
from catchment.log.writer import CommitWatch, SegmentWriter
from catchment.maintenance import MaintenanceWatch
from catchment.parts import exit_with_parent
from catchment.settings import Settings
from catchment.telemetry import files, logs
from catchment.telemetry.tracing import open_tracing

LOG_FOLDER = "log"
RATES_FOLDER = "rates"
RELOAD_LOCK = "reload.lock"


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
    logs.configure_server(settings, part="edge")  # Granian has set up its own in this process
    speaks = Speaker(LocalDisk(), data_dir / RELOAD_LOCK, partial(config.keep_sound, data_dir))

    def load() -> Settings:
        loaded = config.load(data_dir)
        logs.conceal(loaded)
        if speaks():
            config.keep_sound(data_dir)
        return loaded

    def sound() -> Settings:
        loaded = config.load(data_dir, name=config.SOUND_NAME)
        logs.conceal(loaded)
        return loaded

    watch = SettingsWatch(data_dir / config.FILE_NAME, load, settings, sound=sound, speaks=speaks)
    settings = watch.start()
    observer = Observer(data_dir / files.FOLDER, open_tracing("edge", os.environ, speaks=False))

    def open_log(loop: AbstractEventLoop) -> LogWriter:
        writer = log_writer(settings, data_dir, loop, watched_by=observer)
        observer.open(writer.name, lambda: writer.unsynced_bytes)
        return writer

    app = EdgeApp(
        watch,
        dialects,
        Lookups(agent_parser(), place_finder(settings.geo)),
        open_log,
        maintenance=MaintenanceWatch(data_dir),
        rates=Rates(data_dir / RATES_FOLDER, settings.apps),
        answers=Answers(data_dir / answers.FILE_NAME, settings.limits),
        room=RoomWatch(LocalDisk(), data_dir / LOG_FOLDER, settings.log, speaks=speaks),
        observer=observer,
    )
    # What start-up made stays for good: without it to look through, a full collection takes less than 1 ms, not 35.
    gc.collect()
    gc.freeze()
    return app


def log_writer(
    settings: Settings, data_dir: Path, loop: AbstractEventLoop, *, watched_by: CommitWatch | None = None
) -> SegmentWriter:
    """A writing half of the log, in a folder of its own; for an event loop."""
    return SegmentWriter(LocalDisk(), data_dir / LOG_FOLDER, settings.log, loop=loop, watched_by=watched_by)
