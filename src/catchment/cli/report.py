"""What a person, or a script, gets to see."""

import csv
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from catchment.cli import keys
from catchment.settings import Settings
from catchment.store.store import Rows

console = Console(highlight=False, soft_wrap=True)


def welcome(settings: Settings, ingest_url: str, console_url: str, data_dir: Path) -> None:
    """What `serve` prints: addresses, keys, and one call per vendor to paste."""
    found = keys.of_apps(settings)
    console.print()
    console.print("[bold]Catchment is running.[/bold] Ctrl-C stops it; nothing accepted is lost.")
    console.print()
    console.print(f"  ingest   {ingest_url}")
    console.print(f"  console  {console_url}   token {escape(settings.console.token)}")
    console.print(f"  data     {escape(str(data_dir))}")
    console.print()
    print_keys(found)
    console.print("Send an event as each vendor's client would:")
    console.print()
    for command in curl_commands(found[0], ingest_url, insecure=bool(settings.ingest.tls_cert)):
        sys.stdout.write(command + "\n\n")
    console.print("Then ask for it:")
    console.print()
    folder = shlex.quote(str(data_dir))
    query = shlex.quote("SELECT time, source, name, user_id FROM events")
    sys.stdout.write(f"{shlex.quote(_program())} sql {query} --data-dir {folder}\n\n")
    sys.stdout.flush()


def _program() -> str:
    return sys.argv[0] if Path(sys.argv[0]).name == "catchment" else "catchment"


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
    if app["batch"] and app["batch"]["live"]:
        events = {"events": [{"name": "ue.added_to_cart", "label": "shoes", "attributes": {"sub_category": "boots"}}]}
        header = f"X-Authorization: {app['batch']['rest_api_key']}"
        commands.append((f"{ingest_url}/1.0/{app['batch']['live']}/events/users/12345", header, events))
    if app["moloco"]:
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
        console.print(f"  [bold]{app['app']}[/bold]")
        for vendor in ("moesif", "batch", "moloco"):
            for name, value in (app[vendor] or {}).items():
                if value:
                    console.print(f"    {vendor:<7}{name:<16}{escape(value)}")
    console.print()


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
    else:
        table = Table(*[escape(name) for name in names], header_style="bold")
        for row in answer.rows:
            table.add_row(*[escape(_cell(row[name])) for name in names])
        Console(highlight=False, width=None if sys.stdout.isatty() else 10_000).print(table)


def print_json(value: object) -> None:
    """One JSON document."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def print_event(event: dict[str, Any], style: str) -> None:
    """One line of `tail`."""
    if style == "ndjson":
        sys.stdout.write(json.dumps(event, ensure_ascii=False) + "\n")
    else:
        who = event["user_id"] or event["anonymous_id"] or "-"
        late = " [yellow]late[/yellow]" if event["late"] else ""
        status = f" {event['status']}" if event["status"] is not None else ""
        properties = escape(json.dumps(event["properties"], ensure_ascii=False))
        console.print(
            f"[dim]{event['time'][:23]}[/dim] {event['source']:<6} [bold]{escape(event['name'])}[/bold]{status}"
            f" [cyan]{escape(who)}[/cyan]{late} [dim]{properties}[/dim]"
        )
    sys.stdout.flush()


def print_status(found: dict[str, Any], apps: list[dict[str, Any]]) -> None:
    """`status` for a person."""
    run, lag, disk, loader = found["running"], found["lag"], found["disk"], found["loader"]
    console.print(f"running  process {run['pid']}, {run['ingest']}, console {run['console']}" if run else "stopped")
    behind = (
        "nothing waits" if not lag["unread_bytes"] else f"{_size(lag['unread_bytes'])} wait, {lag['seconds']} s behind"
    )
    console.print(f"lag      {behind}")
    if loader["failing_for_seconds"] is not None:
        console.print(
            f"[red]store    fails for {loader['failing_for_seconds']} s: {escape(loader['last_error'])}[/red]"
        )
    sizes = [f"{part} {_size(disk[f'{part}_bytes'])}" for part in ("log", "store", "free")]
    console.print(f"disk     {', '.join(sizes)}")
    console.print()
    table = Table("app", "source", "events / min", "events / h", "events", "rejections", header_style="bold")
    for rate in found["rates"]:
        numbers = (rate["events_last_minute"], rate["events_last_hour"], rate["events"], rate["rejections"])
        table.add_row(rate["app"] or "(no key)", rate["source"], *[f"{number:,}" for number in numbers])
    console.print(table if found["rates"] else "Nothing has arrived yet.")
    console.print()
    print_keys(apps)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _size(size: int) -> str:
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
