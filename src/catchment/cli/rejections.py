"""`catchment rejections`: why calls were refused, one of them with its fault marked, and replaying them."""

import asyncio
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from cyclopts import App
from rich.cells import cell_len
from rich.text import Text

from catchment import config, wiring
from catchment.cli import asking, report
from catchment.cli.excerpt import Excerpt, excerpt, pretty
from catchment.cli.options import DEFAULT_DATA_DIR, DataDir, Flag, Format, Source, WrongArguments
from catchment.errors import LogUnavailable
from catchment.record import ProfileRecord
from catchment.replay import BadFix, Fix, Outcome, Replay
from catchment.store import queries

ROWS_MAX = 1000  # of a list; the newest, or the most frequent
REPLAYED_MAX = 10_000  # at a time
PAGE = 100  # rejections that are read, with their bodies, by one query
SHOWN_MAX = 20  # outcomes of a replay that are shown one by one
DIFF_LINES_MAX = 30
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

app = App(name="rejections", help="Tell what was refused and why, and replay it.")


@app.default
def list_rejections(
    *,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    since: str | None = None,
    source: Source | None = None,
    app: str | None = None,
    reason: str | None = None,
    all: Flag = False,
    show: str | None = None,
    format: Format = "table",
) -> int:
    """List what was refused, grouped by reason; or show one refused call with its fault marked.

    Parameters
    ----------
    since
        Only from then on: `90s`, `15m`, `1h`, `7d` ago, or a time in UTC like 2026-01-31T12:00.
    source
        Only calls to this vendor's API.
    app
        Only calls of this application.
    reason
        Only this code (`invalid_field`, `31`), or reasons that have these words.
    all
        List single calls, not groups.
    show
        Id of one call: print all that is known of it, and its body with the fault marked.
    format
        `json` is an array of row objects; of --show, one object.
    """
    settings = config.in_use(data_dir)
    if show:
        with asking.asker(settings, data_dir) as ask:
            [row] = _whole(ask, [show])
        if format == "table":
            _print_rejection(row)
        else:
            report.print_json(row)
        return 0
    filters = _filters(since, source, app, reason)
    name = "rejection_rows" if all else "rejection_groups"
    found = asking.ask(settings, data_dir, queries.text(name), filters | {"rows_max": ROWS_MAX})
    if format == "table" and not found.rows:
        report.console.print("Nothing was refused" + (" that fits these options." if any(filters.values()) else "."))
        return 0
    if format == "table" and not all:
        _print_groups(found.rows)
    else:
        report.print_rows(found, format)
    if format == "table":
        if len(found.rows) == ROWS_MAX:
            report.console.print(
                f"These are the first {ROWS_MAX}; narrow them with --since, --source, --app, --reason."
            )
        report.console.print("`catchment rejections --show ID` shows one with its fault marked.")
    return 0


@app.command(name="replay")
def replay_rejections(
    *ids: str,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    since: str | None = None,
    source: Source | None = None,
    app: str | None = None,
    reason: str | None = None,
    fix: str | None = None,
    yes: Flag = False,
    again: Flag = False,
    format: Literal["text", "json"] = "text",
) -> int:
    """Decode refused calls again, with the settings of now; without --yes, only tell what would happen.

    Exit code 1 means that one of them was not accepted, or that there was none.

    Parameters
    ----------
    ids
        Ids of the calls, as `catchment rejections --all` lists them; or choose them by the options below.
    since
        Those from then on: `90s`, `15m`, `1h`, `7d` ago, or a time in UTC like 2026-01-31T12:00.
    source
        Those to this vendor's API.
    app
        Those of this application.
    reason
        Those with this code (`invalid_field`, `31`), or with these words in the reason.
    fix
        jq expression that is done to each body first: '.metadata = {}', '.events[].name |= "ue." + .'.
    yes
        Append what is accepted, for good.
    again
        Take calls, too, that were replayed before. Records that are there already do not come twice.
    format
        `json` is an array with an object for each call.
    """
    filters = _filters(since, source, app, reason)
    if bool(ids) == any(filters.values()):
        raise WrongArguments("give either ids, or one of --reason, --since, --source and --app")
    settings = config.in_use(data_dir)
    expression = _fix(fix)
    with asking.asker(settings, data_dir, caught_up=True) as ask:
        chosen = list(dict.fromkeys(ids)) or _chosen(ask, filters, again=again)
        rows = [row for start in range(0, len(chosen), PAGE) for row in _whole(ask, chosen[start : start + PAGE])]
    replay = wiring.replay(settings, data_dir)
    outcomes = [_outcome(replay, row, expression, again=again) for row in rows]
    accepted = [outcome for outcome in outcomes if outcome.kind == "accepted"]
    if yes and accepted:
        try:
            asyncio.run(_append(replay, accepted, expression))
        except LogUnavailable as error:
            raise asking.CannotAsk(f"{error}; run it again: what was appended until then does not come twice") from None
    if format == "json":
        report.print_json([_as_json(outcome, appended=yes) for outcome in outcomes])
    else:
        _print_outcomes(outcomes, appended=yes)
    return 0 if outcomes and len(accepted) == len(outcomes) else 1


async def _append(replay: Replay, outcomes: Sequence[Outcome], fix: Fix | None) -> None:
    await replay.append(outcomes, fix, asyncio.get_running_loop())


def _filters(since: str | None, source: str | None, app: str | None, reason: str | None) -> dict[str, Any]:
    return {"since": moment(since), "source": source or "", "app": app or "", "reason": reason or ""}


def moment(text: str | None) -> str:
    """`1h` ago, or a time in UTC, as SQL takes it; nothing stays nothing. Raises `WrongArguments`."""
    if not text:
        return ""
    if ago := re.fullmatch(r"(\d{1,6})([smhd])", text):
        time = datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    else:
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            raise WrongArguments(f"--since: write 90s, 15m, 1h, 7d, or 2026-01-31T12:00, not {text!r}") from None
        time = time.astimezone(UTC) if time.tzinfo else time
    return f"{time:%Y-%m-%d %H:%M:%S.%f}"


def _fix(expression: str | None) -> Fix | None:
    try:
        return Fix(expression) if expression else None
    except BadFix as error:
        raise WrongArguments(f"--fix is no jq expression: {error}") from None


def _chosen(ask: asking.Ask, filters: Mapping[str, Any], *, again: bool) -> list[str]:
    """Ids of those that fit, oldest first; by default, of those that were not replayed yet."""
    found = ask(queries.text("rejection_rows"), {**filters, "rows_max": REPLAYED_MAX + 1}).rows
    if len(found) > REPLAYED_MAX:
        raise asking.CannotAsk(f"these are more than {REPLAYED_MAX}; choose fewer with --since, --reason, --app")
    return [row["rejection_id"] for row in reversed(found) if again or row["replayed_at"] is None]


def _whole(ask: asking.Ask, ids: list[str]) -> list[dict[str, Any]]:
    rows = ask(queries.text("rejections_whole"), {"ids": ids}).rows
    missing = sorted(set(ids) - {row["rejection_id"] for row in rows})
    if missing:
        raise asking.CannotAsk(f"no refused call has the id {missing[0]!r}; `catchment rejections --all` lists them")
    return list({row["rejection_id"]: row for row in rows}.values())


def _outcome(replay: Replay, row: Mapping[str, Any], fix: Fix | None, *, again: bool) -> Outcome:
    if row["replayed_at"] is not None and not again:
        body: str = row["payload"]
        when = row["replayed_at"][:19]
        return Outcome(
            row, "replayed", reason=f"it was replayed at {when}; --again does it again", before=body, after=body
        )
    return replay.rehearse(row, fix)


# What a person sees


def _print_groups(groups: Sequence[Mapping[str, Any]]) -> None:
    for group in groups:
        path = f", at {group['path']}" if group["path"] else ""
        what = f"{group['status']}, code {group['code']}: {group['reason']}{path}"
        count = f"{group['refused']:,}"
        head = f"  {group['app'] or '(no valid key)'}, {group['source']}  {what}"
        report.console.print(Text.assemble((f"{count:>7}", "bold"), report.one_line(head)))
        first, last = group["first_at"][:19], group["last_at"][:19]
        replayed = f", {group['replayed']:,} replayed" if group["replayed"] else ""
        times = first if first == last else f"{first} to {last}"
        report.console.print(Text(f"         {times}{replayed}; example {group['example']}", "dim"))
    report.console.print()


def _print_rejection(row: Mapping[str, Any]) -> None:
    payload: str = row["payload"]
    size = row["payload_bytes"]
    kept = "" if len(payload.encode(errors="replace")) == size else f", kept as {len(payload.encode(errors='replace'))}"
    path = f", at {row['path']}" if row["path"] else ""
    facts = {
        "id": row["rejection_id"],
        "when": f"{row['received_at'][:23]} UTC",
        "who": ", ".join(filter(None, (row["app"] or "(no valid key)", row["ip"], row["user_agent"]))),
        "call": f"{row['source']}  {row['method']} {row['route']}",
        "answer": f"{row['status']}, code {row['code']}: {row['reason']}{path}",
        "body": f"{size} bytes{kept}",
        "replayed": f"{row['replayed_at'][:23]} UTC" if row["replayed_at"] else "no",
    }
    for name, value in facts.items():
        report.console.print(Text.assemble((f"{name:<10}", "dim"), report.one_line(str(value))))
    report.console.print()
    if not payload:
        report.console.print("Nothing of the body was kept.")
        return
    _print_excerpt(excerpt(payload, row["path"], row["reason"], whole=len(payload.encode(errors="replace")) == size))


def _print_excerpt(found: Excerpt) -> None:
    for line in found.lines:
        if line.gap:
            report.console.print(Text(f"  {line.text}", "dim"))
        elif line.marked is None:
            report.console.print(Text(f"  {report.one_line(line.text)}"))
        else:
            start, end = line.marked
            before, fault, after = (report.one_line(line.text[a:b]) for a, b in ((0, start), (start, end), (end, None)))
            report.console.print(Text.assemble(("> ", "bold red"), before, (fault, "bold red"), after))
            pointer = " " * (2 + cell_len(before)) + "^" * max(1, cell_len(fault))
            report.console.print(Text(f"{pointer} {report.one_line(found.reason)}", "red"))


def _print_outcomes(outcomes: Sequence[Outcome], *, appended: bool) -> None:
    for outcome in outcomes[:SHOWN_MAX]:
        row = outcome.rejection
        head = f"{row['rejection_id']}  {row['source']}  {row['method']} {row['route']}"
        report.console.print(Text.assemble((report.one_line(head), "bold")))
        style = "green" if outcome.kind == "accepted" else "red" if outcome.kind == "refused" else "yellow"
        report.console.print(Text(f"  {report.one_line(_told(outcome))}", style))
        for line in _diff(outcome):
            report.console.print(Text(f"    {report.one_line(line)}", _DIFF_STYLES.get(line[:1], "dim")))
    if len(outcomes) > SHOWN_MAX:
        report.console.print(f"… and {len(outcomes) - SHOWN_MAX} more")
    counts = {kind: sum(outcome.kind == kind for outcome in outcomes) for kind in _KINDS}
    told = [f"{count} {_KINDS[kind]}" for kind, count in counts.items() if count]
    report.console.print(f"{', '.join(told) or 'Nothing to replay'}.")
    if counts["accepted"]:
        report.console.print(
            "Appended; the records are visible in a second or two."
            if appended
            else "Nothing was changed; --yes appends what is accepted."
        )


_KINDS = {
    "accepted": "accepted",
    "refused": "still refused",
    "replayed": "replayed before",
    "impossible": "cannot be replayed",
}
_DIFF_STYLES = {"+": "green", "-": "red"}


def _told(outcome: Outcome) -> str:
    if outcome.kind == "accepted":
        updates = sum(isinstance(record, ProfileRecord) for record in outcome.records)
        what = "update" if updates else "event"
        return f"accepted: {len(outcome.records)} {what}{'' if len(outcome.records) == 1 else 's'}"
    place = f", at {outcome.path}" if outcome.path else ""
    return f"{_KINDS[outcome.kind]}: {outcome.reason}{place}"


def _diff(outcome: Outcome) -> Iterator[str]:
    """What the fix does to the body, in lines."""
    if outcome.before == outcome.after:
        return
    lines = list(
        difflib.unified_diff(pretty(outcome.before), pretty(outcome.after), "refused", "mended", "", "", 1, "")
    )
    yield from lines[:DIFF_LINES_MAX]
    if len(lines) > DIFF_LINES_MAX:
        yield f"… {len(lines) - DIFF_LINES_MAX} lines more"


def _as_json(outcome: Outcome, *, appended: bool) -> dict[str, Any]:
    return {
        "rejection_id": outcome.rejection["rejection_id"],
        "outcome": outcome.kind,
        "records": len(outcome.records),
        "event_ids": [record.event_id for record in outcome.records],
        "reason": outcome.reason,
        "path": outcome.path,
        "body": outcome.after,
        "appended": appended and outcome.kind == "accepted",
    }
