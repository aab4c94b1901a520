"""Copies a data dir out: its files, and the snapshot that the holder of its store took.

The files of the data dir itself are copied first, each from one opened file to its end, for others may replace them.
So the answers to calls with an `Idempotency-Key` are older than the snapshot: an answer is written after its records
are durable, so every answer in the backup has its records in it, and a call that is sent again after a restore is never
taken for one that is there. Everything is written into `DIR.partial`, synced, and renamed: a backup that was cut off is
never taken for a whole one. Of the segment that is being written only whole groups are copied.
"""

import hashlib
import logging
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from catchment import __version__, certificate, config
from catchment.backup import manifest, snapshot
from catchment.backup.manifest import Advance, BackupError, Manifest, Table
from catchment.backup.snapshot import Snapshot
from catchment.holding import hold, holder
from catchment.log.disk import LocalDisk
from catchment.log.segment import scan
from catchment.sizes import size_text

PARTIAL_ENDING = ".partial"
SLACK_BYTES = 8 * 1024 * 1024  # for folders, the lists, and what the file system keeps to itself
DATABASE_ENDING = ".sqlite"
_BLOCK_BYTES = 4096
_LOCK_WITHIN_S, _POLL_S = 3.0, 0.1
_ROWS_FILE = "count.txt"
# What belongs to a running server, or is made again by one, and to no backup.
_NOT_KEPT = frozenset({"run.json", "maintenance.json"})
_ENDINGS_NOT_KEPT = (".lock", ".new", f"{DATABASE_ENDING}-wal", f"{DATABASE_ENDING}-shm", f"{DATABASE_ENDING}-journal")
# A new version that is being written, and put in the place of the file in a moment.
_PASSING = re.compile(rf"({re.escape(config.FILE_NAME)}|{re.escape(config.SOUND_NAME)})[a-z0-9_]{{8}}")

logger = logging.getLogger(__name__)

Begin = Callable[[int], Advance]  # is told of the bytes that there are to copy


class _Source(NamedTuple):
    file: Path
    to: str
    size: int
    newest: bool = False  # the segment that may be written meanwhile


def refuse_target(target: Path, data_dir: Path) -> None:
    """Raises `BackupError` where a backup cannot be made there."""
    if Path.cwd().is_relative_to(target.resolve()):
        raise BackupError(f"{target} holds the folder that you are in; name a new one, like {Path.cwd() / 'backup-1'}")
    partial = _partial(target)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BackupError(f"{target} is there already, and no backup is ever written over; choose a new folder")
    if os.path.ismount(target):
        raise BackupError(f"{target} is a disk of its own; name a folder in it, like {target / 'backup-1'}")
    if partial.exists():
        raise BackupError(f"{partial} is left of a backup that was cut off; remove it, or choose another folder")
    if target.resolve().is_relative_to(data_dir.resolve()):
        raise BackupError(f"{target} is inside of the data dir, and would be lost with it; choose another folder")


def make(data_dir: Path, target: Path, take: Callable[[], Snapshot], begin: Begin) -> Manifest:
    """The backup of `data_dir` in the folder `target`, of the moment at which `take` is called or a later one.

    Raises `BackupError`, and `OSError` where the data dir cannot be read; nothing is left of it then.
    """
    refuse_target(target, data_dir)
    target = target.resolve()
    partial = _partial(target)
    with _lock(data_dir), _kept_if_whole(partial):
        snapshot.clear(data_dir)
        try:
            copy = _Copy(partial)
            for name in _own_files(data_dir):
                if name.endswith(DATABASE_ENDING):
                    copy.database(data_dir / name, name)
                else:
                    copy.own_file(data_dir / name, name)
            taken = take()
            sources = list(_sources(data_dir, taken))
            _require_room(partial, sources)
            copy.advance = begin(sum(source.size for source in sources))
            for source in sources:
                copy.file(source)
            made = _manifest(taken, copy)
            copy.lists(made)
            _rename(partial, target)
            return made
        finally:
            snapshot.clear(data_dir)


@contextmanager
def _lock(data_dir: Path) -> Iterator[None]:
    deadline = time.monotonic() + _LOCK_WITHIN_S
    while (lock := hold(data_dir / snapshot.LOCK_NAME)) is None and time.monotonic() < deadline:
        time.sleep(_POLL_S)  # the core may only be removing what a killed one left
    if lock is None:
        who = holder(data_dir / snapshot.LOCK_NAME)
        raise BackupError(f"another backup of {data_dir} is under way ({who}); wait until it is done")
    try:
        yield
    finally:
        LocalDisk().unlock(lock)


@contextmanager
def _kept_if_whole(partial: Path) -> Iterator[None]:
    """The folder, which vanishes unless it was renamed: whatever goes wrong, there is no half of a backup left."""
    partial.mkdir(parents=True, mode=0o700)
    try:
        yield
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _partial(target: Path) -> Path:
    whole = target.resolve()
    return whole.with_name(whole.name + PARTIAL_ENDING)


def _own_files(data_dir: Path) -> list[str]:
    """The files of the data dir itself that a backup holds."""
    return sorted(
        info.name
        for info in LocalDisk().files(data_dir)
        if (data_dir / info.name).is_file()
        and info.name not in _NOT_KEPT
        and not info.name.startswith(certificate.FILE_NAME)  # the private key, also while it is being written
        and not info.name.endswith(_ENDINGS_NOT_KEPT)
        and not _PASSING.fullmatch(info.name)
    )


def _sources(data_dir: Path, taken: Snapshot) -> Iterator[_Source]:
    for table, folder in taken.tables.items():
        for path in sorted(manifest.paths(data_dir / folder)):
            yield _source(data_dir / folder / path, f"{manifest.STORE_FOLDER}/{table}/{path}")
    if taken.position:
        yield _source(data_dir / taken.position, f"{manifest.LOG_FOLDER}/{Path(taken.position).name}")
    newest = {Path(segment).parent: segment for segment in sorted(taken.segments)}
    for segment, size in taken.segments.items():
        link = Path(segment)
        to = f"{manifest.LOG_FOLDER}/{link.parent.name}/{link.name}"
        yield _Source(data_dir / segment, to, size, newest=newest[link.parent] == segment)


def _source(file: Path, to: str) -> _Source:
    return _Source(file, to, file.stat().st_size)


def _require_room(partial: Path, sources: list[_Source]) -> None:
    needed = sum(-(-source.size // _BLOCK_BYTES) * _BLOCK_BYTES for source in sources) + SLACK_BYTES
    free = shutil.disk_usage(partial).free
    if needed > free:
        raise BackupError(
            f"there is too little room in {partial.parent}: the backup needs {size_text(needed)}, and"
            f" {size_text(free)} are free; make room, or choose a folder on another disk"
        )


class _Copy:
    """Copies into the folder, and keeps the list of what is there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sums: dict[str, str] = {}
        self.bytes = 0
        self.log_bytes = 0
        self.tables: dict[str, Table] = {}
        self.advance: Advance = lambda _: None

    @property
    def files(self) -> int:
        return len(self._sums)

    def database(self, file: Path, to: str) -> None:
        """A database as it is at one moment, while others write to it."""
        path = self._folder / to
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            with (
                closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=rw", uri=True)) as source,
                closing(sqlite3.connect(path)) as copy,
            ):
                source.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")  # one file, with nothing beside it
        except sqlite3.Error as error:
            if error.sqlite_errorcode not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise BackupError(f"{file} cannot be copied: {error}") from None
            logger.warning("%s is damaged and is left out: %s", file, error)
            path.unlink()
            return
        self._note(to, manifest.digest_of(path, lambda _: None), path.stat().st_size)

    def own_file(self, file: Path, to: str) -> None:
        """A file of the data dir itself, which others may put another one in the place of at any time: as it is now,
        to its end. Nothing where it is gone."""
        with suppress(FileNotFoundError), file.open("rb") as opened:
            self._put(to, iter(partial(opened.read, manifest.PIECE_BYTES), b""))

    def file(self, source: _Source) -> None:
        """A file that does not change any more, or grows at most."""
        path = self._folder / source.to
        with _told_as_fault_of(path):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        size = self._put(source.to, _whole_groups(source) if source.newest else _pieces(source))
        folder, *inner = source.to.split("/")
        if folder == manifest.LOG_FOLDER and len(inner) > 1:
            self.log_bytes += size
        elif folder == manifest.STORE_FOLDER and inner[-1] == _ROWS_FILE and len(inner) == 3:
            before = self.tables.get(inner[0], Table(0, 0))
            self.tables[inner[0]] = Table(before.parts + 1, before.rows + int(path.read_text()))

    def lists(self, made: Manifest) -> None:
        """Writes both, and makes everything durable: at the end, and all at once first, for a sync of each of thousands
        of small files alone would take most of the time. Only the sync of a file tells of its failure, though."""
        data = msgspec.json.format(msgspec.json.encode(made), indent=2) + b"\n"
        self._sums[manifest.MANIFEST_NAME] = hashlib.sha256(data).hexdigest()
        lines = "".join(f"{digest}  {path}\n" for path, digest in sorted(self._sums.items()))
        for name, content in ((manifest.MANIFEST_NAME, data), (manifest.SUMS_NAME, lines.encode())):
            for _ in self._written(self._folder / name, iter([content])):
                pass
        with _told_as_fault_of(self._folder):
            os.sync()
            for folder, _, names in os.walk(self._folder):
                for path in (*(Path(folder) / name for name in names), Path(folder)):
                    _sync(path)

    def _put(self, to: str, pieces: Iterator[bytes]) -> int:
        """Writes a file, and its line in the list; the bytes of it."""
        digest = hashlib.sha256()
        size = 0
        for piece in self._written(self._folder / to, pieces):
            digest.update(piece)
            size += len(piece)
        self._note(to, digest.hexdigest(), size)
        return size

    def _written(self, path: Path, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The pieces, each once it is written."""
        with _told_as_fault_of(path):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb", buffering=0) as file:
            for piece in pieces:
                with _told_as_fault_of(path):
                    rest = memoryview(piece)
                    while rest:
                        rest = rest[file.write(rest) :]
                self.advance(len(piece))
                yield piece

    def _note(self, to: str, digest: str, size: int) -> None:
        self._sums[to] = digest
        self.bytes += size


def _manifest(taken: Snapshot, copy: _Copy) -> Manifest:
    return Manifest(
        format=manifest.FORMAT,
        version=__version__,
        engine=taken.engine,
        made_at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        schema=taken.schema,
        tables={table: copy.tables.get(table, Table(0, 0)) for table in taken.tables},
        log_bytes=copy.log_bytes,
        counts=taken.counts,
        files=copy.files,
        bytes=copy.bytes,
    )


def _pieces(source: _Source) -> Iterator[bytes]:
    left = source.size
    with source.file.open("rb") as file:
        while left and (piece := file.read(min(left, manifest.PIECE_BYTES))):
            left -= len(piece)
            yield piece


def _whole_groups(source: _Source) -> Iterator[bytes]:
    """The bytes up to the end of the last sound group: what stands behind it was being written, and nobody had been
    promised it."""
    held = b""
    wanted = manifest.PIECE_BYTES
    for piece in _pieces(source):
        held += piece
        if len(held) >= wanted:
            end = scan(held).end
            yield held[:end]
            held = held[end:]
            wanted = manifest.PIECE_BYTES + 2 * len(held)  # or a large group would be looked through again and again
    yield held[: scan(held).end]


@contextmanager
def _told_as_fault_of(path: Path) -> Iterator[None]:
    """A failure of the backup's disk, as a sentence."""
    try:
        yield
    except OSError as error:
        raise BackupError(
            f"{path} cannot be written: {error.strerror}; nothing is left of this backup, so make room or choose"
            " another folder, and start it again"
        ) from None


def _rename(partial: Path, target: Path) -> None:
    with _told_as_fault_of(target):
        partial.rename(target)  # an empty folder gives way
        _sync(target.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
