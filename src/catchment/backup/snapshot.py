"""One moment of a data dir, held fast inside it: the store's parts and the log's segments as hard links.

Whoever has the store open takes it. Loading is paused meanwhile, so that all tables tell of the same lines, and no
position can move between the store and the log: the position that is read is never ahead of the frozen tables, so what
stands behind it in the log, together with them, is everything that was acknowledged. What is in both shows once.

The links cost no room until the originals go. One process at a time may use snapshots: it holds `LOCK_NAME`.
"""

import os
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path

import msgspec
from uuid_utils import uuid7

from catchment.backup import counting
from catchment.backup.manifest import BackupError, Counts
from catchment.loader import Loader
from catchment.log.disk import LocalDisk
from catchment.log.position import POSITION_NAME, START, DamagedPositions, load_positions
from catchment.log.segment import WRITER_PREFIX, sequence_of
from catchment.settings import Sql
from catchment.store.clickhouse import ClickHouseStore

LOCK_NAME = "backup.lock"
COUNT_WITHIN_S = 10.0  # loading waits for it; what would be begun later is not counted
TRIES, PAUSE_S = 30, 1.0  # while the store is changing its tables
COUNTS_MAX = 3  # where somebody changes them in spite of the pause, the counts may be of something else
_INSERT_S = 60.0
_PREFIX = "snapshot_"
# Two threads of this process that look at the lock would take each other for a backup.
_looking = threading.Lock()
_LOG, _STORE, _SHADOW = "log", "store", "shadow"


class NotUnderWay(BackupError):
    """Nobody makes a backup now."""


class Snapshot(msgspec.Struct, frozen=True):
    """`tables` gives the folder of each table's parts, `segments` the bytes of each segment's link that count; all
    paths are from the data dir. `counts` is None where the store's schema is an older one, which has other views."""

    name: str
    engine: str
    schema: dict[str, str]
    tables: dict[str, str]
    segments: dict[str, int]
    position: str | None
    counts: Counts | None


def take(store: ClickHouseStore, loader: Loader, data_dir: Path, *, counted: bool = True) -> Snapshot:
    """Holds the moment fast, until `clear`. Raises `BackupError` where the store is changing its tables all the time,
    `StoreError` where it fails."""
    name = f"{_PREFIX}{uuid7().hex}"
    counts_left = COUNTS_MAX
    for _ in range(TRIES):
        with loader.pause():
            # Inside the pause no change of the tables is begun; one that was begun before must be over: half of it must
            # not be copied, like events that are deleted from one table and not yet from another.
            before = store.changes()
            if not before.under_way:
                tables = store.freeze(name)
                segments, position = _link_log(data_dir, name)
                counts = counting.count(store, within_s=COUNT_WITHIN_S) if counted else None
                if store.changes() == before:  # else somebody changed them in spite of the pause
                    folders = {table: str(Path(_STORE) / folder) for table, folder in tables.items()}
                    return Snapshot(name, store.engine(), store.schema(), folders, segments, position, counts)
                counts_left -= 1
        _remove(data_dir, name)
        if not counts_left:
            break
        time.sleep(PAUSE_S)
    raise BackupError("the store was changing its tables for too long; try again later")


def take_for_command(store: ClickHouseStore, loader: Loader, data_dir: Path) -> Snapshot:
    """`take`, for a command in another process. Raises `NotUnderWay` where none holds the lock: nobody would remove
    it."""
    if not is_under_way(data_dir):
        raise NotUnderWay("no backup is under way; `catchment backup DIRECTORY` makes one, and asks for this itself")
    return take(store, loader, data_dir)


def seconds_max(sql: Sql) -> float:
    """How long a taker has to wait for `take` at most: for an insert, while tables are changed, and for counts, each of
    which may have to wait for other queries."""
    return TRIES * PAUSE_S + COUNTS_MAX * (COUNT_WITHIN_S + 2 * sql.seconds_max) + _INSERT_S


def is_under_way(data_dir: Path) -> bool:
    """Whether a backup holds the lock."""
    with _looking:
        lock = LocalDisk().try_lock(data_dir / LOCK_NAME)
        if lock is not None:
            LocalDisk().unlock(lock)
        return lock is None


def clear(data_dir: Path) -> None:
    """Removes all snapshots; only for the holder of the lock."""
    for name in _names(data_dir):
        _remove(data_dir, name)


def clear_stale(data_dir: Path) -> bool:
    """Removes what a backup left that was killed; nothing while one is under way. Whether there was something."""
    if not _names(data_dir):  # a backup that begins now need not wait for the lock
        return False
    with _looking:
        lock = LocalDisk().try_lock(data_dir / LOCK_NAME)
        if lock is None:
            return False
        try:
            clear(data_dir)
        finally:
            LocalDisk().unlock(lock)
    return True


def _names(data_dir: Path) -> set[str]:
    found = set()
    for folder in (data_dir / _STORE / _SHADOW, data_dir / _LOG):
        with suppress(FileNotFoundError):
            found |= {name for name in os.listdir(folder) if name.startswith(_PREFIX)}
    return found


def _remove(data_dir: Path, name: str) -> None:
    for folder in (data_dir / _STORE / _SHADOW, data_dir / _LOG):
        shutil.rmtree(folder / name, ignore_errors=True)


def _link_log(data_dir: Path, name: str) -> tuple[dict[str, int], str | None]:
    """Links the segments from the position on, and copies the position."""
    disk, log = LocalDisk(), data_dir / _LOG
    folder = log / name
    folder.mkdir(mode=0o700)
    position: str | None = None
    with suppress(FileNotFoundError):
        shutil.copyfile(log / POSITION_NAME, folder / POSITION_NAME)
        position = f"{_LOG}/{name}/{POSITION_NAME}"
    try:
        positions = load_positions(disk, folder)
    except DamagedPositions:
        positions = {}  # as the reader does with it: all of the log counts
    segments = {}
    for writer in (found for found in disk.folders(log) if found.startswith(WRITER_PREFIX)):
        (folder / writer).mkdir(mode=0o700)
        since = positions.get(writer, START).sequence
        for info in disk.files(log / writer):
            sequence = sequence_of(info.name)
            if sequence is not None and sequence >= since:
                with suppress(FileNotFoundError):  # its writer took it back, before it held a group
                    os.link(log / writer / info.name, folder / writer / info.name)
                    segments[f"{_LOG}/{name}/{writer}/{info.name}"] = info.size
    return segments, position
