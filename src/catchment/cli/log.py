"""`catchment log`: whether the disk still has what was written."""

import sys
from typing import Literal

from cyclopts import App
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from catchment.cli import report
from catchment.cli.options import DEFAULT_DATA_DIR, DataDir, WrongArguments
from catchment.log.consequence import Consequence, consequences
from catchment.log.disk import LocalDisk
from catchment.log.verify import Finding, segments, verify
from catchment.sizes import size_text
from catchment.wiring import LOG_FOLDER

_TOLD: dict[Consequence, str] = {
    "loaded": "nothing is lost: the core had passed this place and left no note of damage, so the events were loaded,"
    " and the damage came later",
    "not_loaded": "events are lost: the damage was there when the core read the segment, and left a note. The events in"
    " the groups that it touches had been acknowledged, are not in the store, and will not come by themselves; all"
    " others of the segment are loaded",
    "waits": "events will be lost: the core has not read this place yet. It will step over the groups that are not"
    " sound, or after a minute over what the disk cannot read. Their events had been acknowledged; all others of the"
    " segment will be loaded",
    "unknown": "nobody can tell whether its events were loaded before, for position.json is damaged, too. All that is"
    " sound is loaded once more, and shows once",
}
_WHAT_NOW = """\
What now: copy each damaged segment elsewhere, and look at the disk, which does not keep what was written.
`tail -c +BYTE SEGMENT | jq -cR 'fromjson? | select(.app)'` may still read events from a damaged place on; nothing
vouches for them. What can be sent again by its senders under the same ids shows once. Segments and notes are kept until
you delete them. docs/log.md, Verifying, says more."""
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
        raise WrongArguments(
            f"there is no log in {data_dir.absolute()}; name the data dir of your server with --data-dir or"
            " CATCHMENT_DATA_DIR"
        )
    disk = LocalDisk()
    columns = (TextColumn("checking"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=sum(size for _, size, _ in segments(disk, root)))
        findings = list(verify(disk, root, progress=lambda read: progress.advance(task, read)))
    became = consequences(disk, root)
    found = [(finding, became(finding)) for finding in findings]
    if format == "json":
        report.print_json(
            [finding._asdict() | {"sound": finding.sound, "consequence": what} for finding, what in found]
        )
    else:
        _print(found)
    return 0 if all(finding.sound for finding in findings) else 1


def _print(found: list[tuple[Finding, Consequence]]) -> None:
    table = Table("segment", header_style="bold")
    for name in ("size", "groups"):
        table.add_column(name, justify="right")
    table.add_column("state")
    for finding, _ in found:
        state = f"{finding.state} at byte {finding.at:,}" if finding.at >= 0 else finding.state
        state += f": {finding.reason}" if finding.reason else ""
        style = _STYLES.get(finding.state)
        table.add_row(finding.segment, size_text(finding.bytes), f"{finding.groups:,}", state, style=style)
    if found:
        report.console.print(table, soft_wrap=False)
    damaged = [(finding, what) for finding, what in found if not finding.sound]
    total = "1 segment" if len(found) == 1 else f"{len(found):,} segments"
    report.console.print(f"{total}, {len(damaged):,} damaged" if damaged else f"{total}, all sound")
    if any(finding.state == "torn" for finding, _ in found):
        report.console.print(
            "What is torn was never acknowledged, unless the disk has lost the end of a segment that it had synced."
        )
    for finding, what in damaged:
        report.console.print(Text(f"{finding.segment}: {_TOLD[what]}.", _STYLES[finding.state]))
    if damaged:
        report.console.print(_WHAT_NOW)
