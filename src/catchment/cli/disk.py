"""The disk in `catchment status`, for a person: what takes how much, and what to do about what cannot be read."""

from typing import Any

from rich.console import Console
from rich.table import Table

from catchment.sizes import size_text

_INDENT = 9  # below the words of the other lines


def print_disk(console: Console, disk: dict[str, Any]) -> None:
    """A line with the sum, one for each part that takes room, and where there is one, what is to be done."""
    parts = _parts(disk)
    used = sum(size for _, size, _ in parts)
    console.print(f"disk     {size_text(used)} used, {size_text(disk['free_bytes'])} free")
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(min_width=_INDENT - 2)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(justify="right")
    for name, size, rows in parts:
        if size:
            table.add_row("", name, size_text(size), f"{rows:,} rows" if rows else "")
    console.print(table, soft_wrap=False)
    if disk["log_aside_files"]:
        console.print(
            " "
            * _INDENT
            + "what was set aside could not be read and is kept for you: `catchment log verify` tells where,"
            " docs/log.md what it is; delete it when you are done with it",
            style="yellow",
        )


def _parts(disk: dict[str, Any]) -> list[tuple[str, int, int]]:
    """Name, bytes, and rows where it has any."""
    tables = [(f"store, {row['table']}", row["bytes"], row["rows"]) for row in disk["tables"]]
    in_tables = sum(size for _, size, _ in tables)
    return [
        ("log, not loaded yet", disk["log_unread_bytes"], 0),
        ("log, loaded", disk["log_loaded_bytes"], 0),
        (f"log, set aside in {disk['log_aside_files']} files", disk["log_aside_bytes"], 0),
        *tables,
        ("store, merged parts and the rest", max(0, disk["store_bytes"] - in_tables), 0),
        ("answers to Idempotency-Keys", disk["answers_bytes"], 0),
        ("everything else", disk["other_bytes"], 0),
    ]
