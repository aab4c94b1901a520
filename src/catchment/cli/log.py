"""`catchment log`: whether the disk still has what was written."""

import sys
from typing import Literal

from cyclopts import App
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from catchment.cli import report
from catchment.cli.options import DEFAULT_DATA_DIR, DataDir, WrongArguments
from catchment.log.disk import LocalDisk
from catchment.log.verify import Finding, segments, verify
from catchment.wiring import LOG_FOLDER

_STYLES = {"damaged": "bold red", "unreadable": "bold red", "torn": "yellow"}

app = App(name="log", help="Look at the log on the disk.")


@app.command(name="verify")
def verify_command(*, data_dir: DataDir = DEFAULT_DATA_DIR, format: Literal["table", "json"] = "table") -> int:
    """Check every segment of the log against its checksums, whether Catchment runs or not; exit with 1 on damage.

    It changes nothing. docs/log.md says what the states mean and what to do about damage.

    Parameters
    ----------
    format
        `json` is an array with an object for each segment.
    """
    root = data_dir / LOG_FOLDER
    if not root.is_dir():
        raise WrongArguments(f"there is no log in {data_dir}; give the folder of a server with --data-dir")
    disk = LocalDisk()
    columns = (TextColumn("checking"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=sum(size for _, size, _ in segments(disk, root)))
        findings = list(verify(disk, root, progress=lambda read: progress.advance(task, read)))
    if format == "json":
        report.print_json([finding._asdict() | {"sound": finding.sound} for finding in findings])
    else:
        _print(findings)
    return 0 if all(finding.sound for finding in findings) else 1


def _print(findings: list[Finding]) -> None:
    table = Table("segment", header_style="bold")
    for name in ("bytes", "groups"):
        table.add_column(name, justify="right")
    table.add_column("state")
    for finding in findings:
        state = f"{finding.state} at byte {finding.at:,}" if finding.at >= 0 else finding.state
        state += f": {finding.reason}" if finding.reason else ""
        style = _STYLES.get(finding.state)
        table.add_row(finding.segment, f"{finding.bytes:,}", f"{finding.groups:,}", state, style=style)
    if findings:
        report.console.print(table, soft_wrap=False)
    damaged = sum(not finding.sound for finding in findings)
    total = "1 segment" if len(findings) == 1 else f"{len(findings):,} segments"
    report.console.print(f"{total}, {damaged:,} damaged" if damaged else f"{total}, all sound")
