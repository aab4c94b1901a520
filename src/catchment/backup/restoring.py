"""Makes a data dir of a backup, and proves that it has what the backup had.

Everything is built in `config.RESTORING_NAME` inside the new data dir, which is moved up at the end, the settings last:
a data dir with that folder in it is not finished, and `serve` refuses it. So it is made before anything is read, and
only what was moved out of it is ever removed: whatever else comes into the data dir is somebody else's. The store is
made with the schema of the backup, takes its parts, and is then brought up to this version's schema, as the store of an
old data dir would be.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from catchment import __version__, config
from catchment.backup import counting, manifest
from catchment.backup.manifest import Advance, BackupError, Counts, Manifest
from catchment.loader import Loader
from catchment.log.disk import LocalDisk
from catchment.log.log import LogReader
from catchment.sizes import size_text
from catchment.store.clickhouse import ClickHouseStore
from catchment.store.schema import known_schema

DIFFERENCE = "difference"
LEDGER = "ledger: "
_PART = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]*")

# Opens, in a folder with settings, the store as it is there, the log, and what loads; nothing is migrated or loaded.
Open = Callable[[Path], tuple[ClickHouseStore, LogReader, Loader]]
Begin = Callable[[str, int], Advance]  # a step, and its size in bytes


class Compared(NamedTuple):
    """One figure: of the backup, and of what was restored. `backup` is None where it was not counted then. `with_log`
    is the figure once all was loaded that the backup's log held beyond its tables. The books are looked at only then,
    so theirs are the same two."""

    what: str
    backup: int | None
    restored: int
    same: bool
    with_log: int


def refuse_backup(backup: Path, found: Manifest) -> None:
    """Raises `BackupError` where this version cannot restore it."""
    known = known_schema()
    later = sorted(found.schema.keys() - known.keys())
    if later:
        raise BackupError(
            f"{backup} was made by a later version of Catchment ({found.version}, whose store has {later[-1]});"
            f" this is {__version__}: install {found.version} or a later one, then restore"
        )
    changed = sorted(name for name, digest in found.schema.items() if known[name] != digest)
    if changed:
        raise BackupError(
            f"{backup} was made by another build of Catchment ({found.version}, with another {changed[0]});"
            " restore it with that one"
        )


def refuse_data_dir(data_dir: Path) -> None:
    """Raises `BackupError` where nothing can be restored to."""
    if (data_dir / config.RESTORING_NAME).exists():
        raise BackupError(
            f"{data_dir} holds a restore that was cut off, or is still under way; wait for it, or where none runs,"
            " remove all that is in it, and start again"
        )
    if data_dir.exists() and (not data_dir.is_dir() or any(data_dir.iterdir())):
        raise _not_empty(data_dir)


def _not_empty(data_dir: Path) -> BackupError:
    return BackupError(f"{data_dir} is not empty, and a restore never writes over anything; choose a new --data-dir")


def restore(backup: Path, data_dir: Path, open_core: Open, begin: Begin) -> list[Compared]:
    """Makes `data_dir`, and gives what was compared. Raises `BackupError` where the backup is not what was written, is
    of another version, or differs from what came of it; nothing is left then."""
    refuse_data_dir(data_dir)
    found = manifest.read(backup)
    refuse_backup(backup, found)
    _require_room(data_dir, found)
    with _kept_if_whole(data_dir) as work:
        wrong = list(manifest.faults(backup, found, begin("checking", found.bytes)))
        if wrong:
            raise BackupError(_listed(f"{backup} is damaged, and nothing was restored; take another backup", wrong))
        advance = begin("copying", found.bytes)
        _copy_files(backup, work, advance)
        compared = _build(backup, work, found, open_core, advance, begin)
        differing = [f"{one.what}: {one.backup} then, {one.restored} now" for one in compared if not one.same]
        if differing:
            raise BackupError(_listed("what was restored is not what was backed up, so nothing was kept", differing))
        _move_up(work, data_dir)
    return compared


def _listed(sentence: str, items: list[str], shown_max: int = 20) -> str:
    rest = [f"  - and {len(items) - shown_max} more"] if len(items) > shown_max else []
    return "\n".join([f"{sentence}:", *(f"  - {item}" for item in items[:shown_max]), *rest])


def _require_room(data_dir: Path, found: Manifest) -> None:
    there = next(folder for folder in (data_dir, *data_dir.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if found.bytes > free:
        raise BackupError(
            f"there is too little room in {there}: the backup holds {size_text(found.bytes)}, and"
            f" {size_text(free)} are free"
        )


@contextmanager
def _kept_if_whole(data_dir: Path) -> Iterator[Path]:
    """The folder to build in; whatever goes wrong, it is removed. From its making on no server starts on the data dir,
    and one that was there before is seen by what it has put there."""
    fresh = _is_made(data_dir)
    try:
        with _work_folder(data_dir) as work:
            _refuse_others(data_dir)
            yield work
    except BaseException:
        if fresh:
            with suppress(OSError):  # somebody has put something there
                data_dir.rmdir()
        raise


def _is_made(data_dir: Path) -> bool:
    """Whether it was not there before."""
    try:
        data_dir.mkdir(parents=True, mode=0o700)
    except FileExistsError:
        return False
    return True


@contextmanager
def _work_folder(data_dir: Path) -> Iterator[Path]:
    work = data_dir / config.RESTORING_NAME
    try:
        work.mkdir(mode=0o700)  # of two restores, one makes it
    except FileExistsError:
        refuse_data_dir(data_dir)
        raise
    try:
        yield work
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def _refuse_others(data_dir: Path) -> None:
    if os.listdir(data_dir) != [config.RESTORING_NAME]:
        raise _not_empty(data_dir)


def _copy_files(backup: Path, work: Path, advance: Advance) -> None:
    """The log, and the files of the data dir itself."""
    skipped = (manifest.MANIFEST_NAME, manifest.SUMS_NAME)
    for path in manifest.paths(backup):
        if path not in skipped and not path.startswith(f"{manifest.STORE_FOLDER}/"):
            _copy(backup / path, work / path, advance)


def _copy(source: Path, to: Path, advance: Advance) -> None:
    to.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    shutil.copyfile(source, to)
    to.chmod(0o600)
    advance(to.stat().st_size)


def _build(
    backup: Path, work: Path, found: Manifest, open_core: Open, advance: Advance, begin: Begin
) -> list[Compared]:
    store, log, loader = open_core(work)
    try:
        store.migrate_to(found.schema)
        store.stop_merges()
        _attach(backup, store, found, advance)
        compared = [
            _compared(_table(table), found.tables[table].rows, rows)
            for table, rows in sorted(store.rows().items())
            if table in found.tables
        ]
        store.migrate()
        if found.counts and found.version == __version__:  # another version's views may show something else
            compared += _compare_views(found.counts, counting.count(store))
        _load(log, loader, begin)
        after = counting.count(store)
        now = {_table(table): rows for table, rows in store.rows().items()}
        now |= {_view(view): rows for view, rows in after.views.items()}
        compared = [one._replace(with_log=now.get(one.what, one.restored)) for one in compared]
        return compared + _compare_books(found.counts, after)
    finally:
        store.close()


def _attach(backup: Path, store: ClickHouseStore, found: Manifest, advance: Advance) -> None:
    """Puts the parts in, in the order in which they came about: where copies are alike but for that, the last wins."""
    folders = store.attachable()
    for table in found.tables:
        if table not in folders:
            raise BackupError(f"{backup} has a table {table!r} that its schema does not make; take another backup")
        source = backup / manifest.STORE_FOLDER / table
        for part in sorted(LocalDisk().folders(source), key=_order):
            if not _PART.fullmatch(part):
                raise BackupError(f"{source / part} is no part of a table; take another backup")
            for path in manifest.paths(source / part):
                _copy(source / part / path, folders[table] / part / path, advance)
            store.attach(table, part)


def _order(part: str) -> tuple[int, str]:
    """`2026_17_18_1` holds the blocks 17 and 18 of its partition."""
    words = part.split("_")
    return (int(words[1]) if len(words) > 2 and words[1].isdigit() else 0, part)


def _load(log: LogReader, loader: Loader, begin: Begin) -> None:
    """Loads what the log of the backup still held."""
    advance = begin("loading what was in the log", log.backlog().unread_bytes)
    while loaded := loader.step():
        advance(loaded)
    if unreadable := log.unreadable():
        raise BackupError(f"the log could not be loaded, so nothing was kept: {unreadable[0]}")
    if loader.progress.last_error:
        raise BackupError(f"the log could not be loaded, so nothing was kept: {loader.progress.last_error}")


def _compared(what: str, then: int | None, now: int) -> Compared:
    return Compared(what, then, now, then is None or then == now, now)


def _table(name: str) -> str:
    return f"rows of {name}"


def _view(name: str) -> str:
    return f"rows of the view {name}"


def _compare_views(then: Counts, now: Counts) -> list[Compared]:
    """What the store showed then and shows now, before anything else is loaded."""
    return [_compared(_view(view), then.views.get(view), rows) for view, rows in now.views.items()]


def _compare_books(then: Counts | None, now: Counts) -> list[Compared]:
    """The books, after all was loaded: they balance, or are off by what they were off when it was backed up."""
    before = then.books if then else {}
    off = now.books.get(DIFFERENCE)
    if off is None:
        raise BackupError("the ledger could not be added up within the bounds of a query; raise sql.seconds_max")
    # What the log held was not in the books yet, so only the difference is bound to be the same.
    figures = [Compared(f"{LEDGER}{name}", before.get(name), n, same=True, with_log=n) for name, n in now.books.items()]
    return [
        *figures[:-1],
        Compared(f"{LEDGER}{DIFFERENCE}", before.get(DIFFERENCE), off, off in (0, before.get(DIFFERENCE)), off),
    ]


def _move_up(work: Path, data_dir: Path) -> None:
    """Everything is durable before the settings are in their place, without which nothing starts. Once the folder is
    gone, a server may start, and nothing is taken back."""
    os.sync()
    _refuse_others(data_dir)
    names = sorted(os.listdir(work), key=lambda name: name == config.FILE_NAME)
    try:
        for name in names:
            (work / name).rename(data_dir / name)
        os.sync()
        work.rmdir()
    except BaseException:
        if work.exists():
            for name in names:
                if not (work / name).exists():
                    _remove(data_dir / name)
        raise
    LocalDisk().sync_folder(data_dir)
    LocalDisk().sync_folder(data_dir.absolute().parent)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True) if path.is_file() else shutil.rmtree(path, ignore_errors=True)
