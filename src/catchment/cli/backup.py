"""`catchment backup` and `catchment restore`: a copy of a data dir as it was at one moment, and a data dir of it."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal

import msgspec
from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from catchment import config, wiring
from catchment.backup import making, manifest, restoring
from catchment.backup.manifest import Advance, BackupError, Manifest
from catchment.cli import asking, report
from catchment.cli.options import DEFAULT_DATA_DIR, DataDir
from catchment.sizes import size_text

Told = Literal["table", "json"]
NewDataDir = Annotated[Path, Parameter(env_var="CATCHMENT_DATA_DIR", help="The folder to make; absent or empty.")]

app = App(name="backup", help="Copy everything to a folder, consistently, whether Catchment runs or not.")


@app.default
def backup(directory: Path, *, data_dir: DataDir = DEFAULT_DATA_DIR, format: Told = "table") -> int:
    """Copy everything to a new folder, as it is at one moment, whether Catchment runs or not.

    All that was acknowledged before the command began is in it. A server goes on meanwhile; what it accepts becomes
    visible a little later.

    Parameters
    ----------
    directory
        The folder to make; absent or empty, and outside of the data dir.
    format
        `json` is the backup's manifest.
    """
    settings = config.in_use(data_dir)
    with _ended_in_order(), _shown() as begin:
        made = making.make(data_dir, directory, partial(asking.snapshot, settings, data_dir), partial(begin, "copying"))
    _print(made, directory, "made", format)
    return 0


@app.command
def verify(directory: Path, *, format: Told = "table") -> int:
    """Check every file of a backup against its checksum; exit with 1 on damage.

    Parameters
    ----------
    directory
        A folder that `catchment backup` made.
    format
        `json` is the backup's manifest.
    """
    found = manifest.read(directory)
    with _shown() as begin:
        wrong = list(manifest.faults(directory, found, begin("checking", found.bytes)))
    if wrong:
        raise BackupError("\n".join([f"{directory} is damaged:", *(f"  - {fault}" for fault in wrong)]))
    restoring.refuse_backup(directory, found)
    _print(found, directory, "sound", format)
    return 0


def restore(directory: Path, /, *, data_dir: NewDataDir, format: Told = "table") -> int:
    """Make a data dir of a backup, load what its log held, and compare everything with what was backed up.

    Exits with 1, and leaves nothing, where something differs.

    Parameters
    ----------
    directory
        A folder that `catchment backup` made, by this version or an earlier one.
    format
        `json` is an array with an object for each figure that was compared.
    """
    with _ended_in_order(), _shown() as begin:
        compared = restoring.restore(directory, data_dir, wiring.open_as_it_is, begin)
    if format == "json":
        report.print_json([one._asdict() for one in compared])
        return 0
    table = Table("what", header_style="bold")
    for name in ("in the backup", "restored", "with its log"):
        table.add_column(name, justify="right")
    for one in compared:
        restored = "" if one.what.startswith(restoring.LEDGER) else f"{one.restored:,}"  # counted with the log only
        table.add_row(one.what, "" if one.backup is None else f"{one.backup:,}", restored, f"{one.with_log:,}")
    report.console.print(table, soft_wrap=False)
    report.console.print(
        "What the tables of the backup held is compared first. Then what its log held beyond them was loaded, which is"
        " in the last column: nothing is left to be loaded."
    )
    off = compared[-1].restored
    if off:
        report.console.print(f"The books were off by {off:,} when this was backed up, and still are.", style="yellow")
    report.console.print(f"Restored to {data_dir}: `catchment serve --data-dir {data_dir}` goes on from there.")
    return 0


def _print(found: Manifest, directory: Path, state: str, told: Told) -> None:
    if told == "json":
        report.print_json(msgspec.to_builtins(found))
        return
    table = Table("table", header_style="bold")
    for name in ("parts", "rows"):
        table.add_column(name, justify="right")
    for name, held in found.tables.items():
        table.add_row(name, f"{held.parts:,}", f"{held.rows:,}")
    report.console.print(table, soft_wrap=False)
    books = found.counts.books if found.counts else {}
    if books:
        sums = " + ".join(f"{books[name]:,} {name}" for name in ("stored", "duplicate", "rejected"))
        report.console.print(f"books   {books['received']:,} received = {sums}, off by {books['difference']:,}")
    report.console.print(f"log     {size_text(found.log_bytes)}, from what was loaded last")
    report.console.print(f"{directory} is {state}: {found.files:,} files, {size_text(found.bytes)}, of {found.made_at}")


@contextmanager
def _shown() -> Iterator[Callable[[str, int], Advance]]:
    """Shows how far the steps have come, if somebody looks: what begins one gives what tells of its bytes."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:

        def begin(step: str, size: int) -> Advance:
            task = progress.add_task(step, total=size)
            return lambda read: progress.advance(task, read)

        yield begin


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Within it, SIGTERM is like Ctrl-C: what was begun is removed."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
