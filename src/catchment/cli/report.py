"""What a person, or a script, gets to see.

Events are strangers' text. For a person (`table`, `text`) their control characters are shown, not obeyed; for a script
(`json`, `csv`, `ndjson`) every character stays what it is.

Where the output is no terminal it has no width, and nothing is cut or folded, unless COLUMNS says how wide it is.
"""

import csv
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.table import Table
from rich.text import Text

from catchment.cli import attention, keys
from catchment.cli.disk import print_disk
from catchment.maintenance import Maintenance
from catchment.settings import Settings
from catchment.sizes import size_text
from catchment.store.store import Rows

TABLE_CHARS_MIN = 11  # of a column with its borders; in a terminal too narrow for that, rows become lists
PADDED_CHARS_MAX = 20_000_000  # of a table: one wide cell makes each row as wide, and then rows become lists, too
_NO_WIDTH = 1 << 30
_UNSOUND = "catchment.toml has a mistake: the next start will fail; `catchment config check` shows where"
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
_LINE_CONTROLS = _CONTROLS | {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}
_CELL_CONTROLS = _LINE_CONTROLS | {ord("\n"): "\n"}


class _Console(Console):
    """Prints text as it is: no markup, no emoji codes."""

    def __init__(self) -> None:
        columns = os.environ.get("COLUMNS", "")
        told = sys.stdout.isatty() or (columns.isdigit() and int(columns) > 0)
        super().__init__(highlight=False, markup=False, emoji=False, soft_wrap=True, width=None if told else _NO_WIDTH)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


console = _Console()


def welcome(settings: Settings, ingest_url: str, console_url: str, data_dir: Path, *, token: str | None = None) -> None:
    """What `serve` prints: addresses, keys, and one call per vendor to paste. `token` is the console's, if it was made
    just now: it is told nowhere else."""
    found = keys.of_apps(settings)
    console.print()
    console.print(Text("Catchment is running.", "bold"), "Ctrl-C stops it; nothing accepted is lost.")
    console.print()
    console.print(f"  ingest   {ingest_url}")
    console.print(f"  console  {console_url}")
    if token:
        console.print(f"  token    {token}")
        console.print("           for the console, told only this once; `catchment token` makes another")
    console.print(f"  data     {data_dir}")
    console.print()
    print_keys(found)
    console.print("Send an event as each vendor's client would:")
    console.print()
    for command in curl_commands(found[0], ingest_url, insecure=bool(settings.ingest.tls_cert)):
        console.print(command + "\n")
    console.print("Then ask for it:")
    console.print()
    query = shlex.quote("SELECT time, source, name, user_id FROM events ORDER BY received_at DESC LIMIT 5")
    console.print(f"{_program()} sql {query} --data-dir {shlex.quote(str(data_dir))}\n")


def _program() -> str:
    """How this program was called, for the shell."""
    if Path(sys.argv[0]).name == "catchment":
        return shlex.quote(sys.argv[0])
    return f"{shlex.quote(sys.executable)} -m catchment"


def curl_commands(app: dict[str, Any], ingest_url: str, *, insecure: bool) -> list[str]:
    """One working call for each vendor that the application has keys of."""
    commands: list[tuple[str, str, dict[str, Any]]] = []
    if app["moesif"]:
        action = {
            "action_name": "Clicked Sign Up",
            "user_id": "12345",
            "request": {"uri": "https://acmeinc.com/pricing"},
            "metadata": {"button_label": "Get Started"},
        }
        header = f"X-Moesif-Application-Id: {app['moesif']['application_id']}"
        commands.append((f"{ingest_url}/v1/actions", header, action))
    batch_key = app["batch"] and (app["batch"]["live"] or app["batch"]["dev"] or app["batch"]["sdk"])
    if batch_key:
        events = {"events": [{"name": "ue.added_to_cart", "label": "shoes", "attributes": {"sub_category": "boots"}}]}
        header = f"X-Authorization: {app['batch']['rest_api_key']}"
        url = f"{ingest_url}/1.0/{quote(batch_key, safe='')}/events/users/12345"
        commands.append((url, header, events))
    if app["moloco"] and app["moloco"]["api_key"]:
        event = {"event_type": "HOME", "channel_type": "SITE", "timestamp": "1617870506121", "user_id": "12345"}
        header = f"x-api-key: {app['moloco']['api_key']}"
        url = f"{ingest_url}/rmp/event/v1/platforms/{app['moloco']['platform']}/userevents"
        commands.append((url, header, event))
    option = "-k " if insecure else ""
    return [
        f"curl {option}-X POST {shlex.quote(url)} \\\n"
        f"  -H 'Content-Type: application/json' -H {shlex.quote(header)} \\\n"
        f"  -d {shlex.quote(json.dumps(body))}"
        for url, header, body in commands
    ]


def print_keys(found: list[dict[str, Any]]) -> None:
    """The keys as an aligned list for each application."""
    for app in found:
        console.print(Text(f"  {app['app']}", "bold"))
        for vendor in ("moesif", "batch", "moloco"):
            for name, value in (app[vendor] or {}).items():
                if value:
                    console.print(f"    {vendor:<7}{name:<16}{value}")
    console.print()


def print_token_hint() -> None:
    """Where the console's token is, below the keys."""
    console.print(Text("  console", "bold"))
    console.print("    only the hash of its token is kept; `catchment token` makes another one")
    console.print()


def print_bounds(settings: Settings, edge_bytes: int, core_bytes: int) -> None:
    """How much memory each process may take, for whoever gives it a machine."""
    workers, sql = settings.ingest.workers, settings.sql
    one = "The edge process takes" if workers == 1 else f"Each of the {workers} edge processes takes"
    console.print(f"{one} at most {size_text(edge_bytes)}.")
    core, query = size_text(core_bytes), size_text(sql.memory_bytes_max)
    console.print(
        f"The engine in the core takes at most {core} on this machine, nine tenths of its memory; of that, each of"
        f" {sql.queries_max} queries at a time at most {query} (sql.memory_bytes_max)."
    )


def print_rows(answer: Rows, style: str) -> None:
    """An answer as `table`, `json` (an array of row objects), `csv` or `ndjson`."""
    names = [column.name for column in answer.columns]
    if style == "json":
        print_json(answer.rows)
    elif style == "ndjson":
        for row in answer.rows:
            sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
    elif style == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([_cell(row[name]) for name in names] for row in answer.rows)
    elif console.width < TABLE_CHARS_MIN * len(names) or _padded_chars(answer) > PADDED_CHARS_MAX:
        _print_lists(answer)
    else:
        _print_table(answer)


def _print_table(answer: Rows) -> None:
    table = Table(header_style="bold")
    for column in answer.columns:
        table.add_column(_text(column.name), overflow="fold")
    for row in answer.rows:
        table.add_row(*[_text(_cell(row[column.name])) for column in answer.columns])
    console.print(table, soft_wrap=False)


def _padded_chars(answer: Rows) -> int:
    """How large it gets as a table, nearly."""
    widths = (max((len(_cell(row[column.name])) for row in answer.rows), default=0) for column in answer.columns)
    return min(sum(widths), console.width) * len(answer.rows)


def _print_lists(answer: Rows) -> None:
    """One row after the other, a line for each column."""
    for number, row in enumerate(answer.rows, 1):
        console.print(Text(f"row {number}", "bold"))
        table = Table(box=None, show_header=False, padding=(0, 1))
        table.add_column(no_wrap=True, style="cyan")
        table.add_column(overflow="fold")
        for column in answer.columns:
            table.add_row(_text(column.name), _text(_cell(row[column.name])))
        console.print(table, soft_wrap=False)
    console.print("1 row" if len(answer.rows) == 1 else f"{len(answer.rows)} rows")


def print_json(value: object) -> None:
    """One JSON document."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def print_event(event: dict[str, Any], style: str) -> None:
    """One line of `tail`."""
    if style == "ndjson":
        sys.stdout.write(json.dumps(event, ensure_ascii=False) + "\n")
    else:
        line = Text.assemble(
            (event["time"][:23], "dim"),
            f" {event['source']:<6} ",
            (one_line(event["name"]), "bold"),
            f" {event['status']}" if event["status"] is not None else "",
            " ",
            (one_line(event["user_id"] or event["anonymous_id"] or "-"), "cyan"),
            (" late", "yellow") if event["late"] else "",
            " ",
            (one_line(json.dumps(event["properties"], ensure_ascii=False)), "dim"),
        )
        console.print(line)
    sys.stdout.flush()


def print_status(found: dict[str, Any]) -> None:
    """`status` for a person. It is pasted into tickets, so it has no keys."""
    run = found["running"]
    idle = "starting or stopping" if found.get("starting") else "stopped"
    console.print(f"running  process {run['pid']}, {run['ingest']}, console {run['console']}" if run else idle)
    if found.get("maintenance"):
        console.print(_maintenance(Maintenance(**found["maintenance"])), style="yellow")
    if found.get("not_accepting"):
        console.print(f"edge     {found['not_accepting']}", style="red")
    if not found.get("settings_sound", True):
        console.print(f"settings {_UNSOUND}", style="red")
    if "unanswered" in found:
        console.print(f"core     {found['unanswered']}", style="red")
        _print_room(found["room"])
        return
    lag, disk, loader = found["lag"], found["disk"], found["loader"]
    behind = (
        "nothing waits"
        if not lag["unread_bytes"]
        else f"{size_text(lag['unread_bytes'])} wait, {lag['seconds']} s behind"
    )
    console.print(f"lag      {behind}")
    if loader["failing_for_seconds"] is not None:
        console.print(f"store    fails for {loader['failing_for_seconds']} s: {loader['last_error']}", style="red")
    for reason in loader.get("unreadable", []):  # a core that was started by an older version tells none
        console.print(f"log      cannot be read: {reason}", style="red")
    _print_books(found["books"])
    if found["retention"]["enforced_at"]:
        console.print(f"age      what is too old was last removed at {found['retention']['enforced_at']} UTC")
    print_disk(console, disk)
    _print_room(found["room"])
    console.print()
    table = Table("app", "source", header_style="bold")
    for name in ("events / min", "events / h", "events", "rejections"):
        table.add_column(name, justify="right")
    for rate in found["rates"]:
        numbers = (rate["events_last_minute"], rate["events_last_hour"], rate["events"], rate["rejections"])
        table.add_row(rate["app"] or "(no key)", rate["source"], *[f"{number:,}" for number in numbers])
    console.print(table if found["rates"] else "Nothing has arrived yet.", soft_wrap=False)
    console.print()
    console.print("keys     `catchment keys` prints them", style="dim")


def _print_room(room: dict[str, Any]) -> None:
    """One line, red where nothing is accepted or soon nothing will be."""
    waits, free = size_text(room["unread_bytes"]), size_text(room["free_bytes"])
    line = f"room     {waits} of {size_text(room['unread_bytes_max'])} wait in the log, {free} are free"
    left = room["seconds_left"]
    if room["short"]:
        line += f"; {room['short']}: nothing is accepted"
    elif left is not None:
        line += f"; {_duration(left)} left at {size_text(room['bytes_per_second'])} a second, then 503"
    console.print(line, style="red" if attention.is_short(room) else None)


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _print_books(books: dict[str, Any]) -> None:
    """One line, green or red; and below a red one, where to look."""
    sums = " + ".join(f"{books[name]:,} {name}" for name in ("stored", "duplicate", "rejected"))
    if not books["difference"]:
        console.print(f"books    balance over 24 h: {books['received']:,} received = {sums}", style="green")
        return
    console.print(
        f"books    differ over 24 h by {books['difference']:,}: {books['received']:,} received, {sums}", style="red"
    )
    for row in books["rows"]:
        if row["difference"]:
            who = f"{row['app'] or '(no key)'} {row['source']}"
            console.print(f"         {who}: by {row['difference']:,} since {row['since']}", style="red")


def print_maintenance(state: Maintenance | None) -> None:
    """`maintenance` for a person."""
    console.print(_maintenance(state) if state else "maintenance is off")


def _maintenance(state: Maintenance) -> str:
    since = f" since {state.since}" if state.since else ""
    return f"maintenance is on{since}, nothing is accepted" + (f": {one_line(state.reason)}" if state.reason else "")


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _text(value: str) -> Text:
    return Text(value.translate(_CELL_CONTROLS))


def one_line(value: str) -> str:
    """A stranger's text on one line, its control characters shown."""
    return value.translate(_LINE_CONTROLS)
