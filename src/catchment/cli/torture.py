"""`catchment torture`: the whole program under fire, and whether it lost anything (docs/torture.md)."""

import secrets
import signal
import sys
import time
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from catchment.cli import report
from catchment.cli.options import Flag
from catchment.torture.disk import enter_namespace
from catchment.torture.run import Outcome, Plan, Progress, run
from catchment.torture.verdict import Tally

_SEEDS = 1_000_000
_LINE_EVERY_S = 10.0
_MINUTE_S = 60
_HURRY_MAX = 3.0  # a run of less than a minute has shorter faults
_LEDGER = ("received", "stored", "duplicate", "rejected", "difference")


def torture(
    *,
    minutes: Annotated[float, Parameter(validator=Number(gt=0, lte=7 * 24 * 60))] = 1.0,
    seed: Annotated[int | None, Parameter(validator=Number(gte=0))] = None,
    clients: Annotated[int, Parameter(validator=Number(gte=1, lte=256))] = 8,
    rate: Annotated[float, Parameter(validator=Number(gte=1, lte=100_000))] = 400.0,
    keep: Flag = False,
    format: Literal["table", "json"] = "table",
) -> int:
    """Put a server of its own under fire, and count what it lost; exit with 1 if that is not nothing.

    It starts a server in a temporary folder, lets clients of all three vendors send to it, kills and stops its
    processes, fills and slows its disk, cuts connections and sets its clock wrong; then it heals everything and
    compares what was acknowledged with what SQL finds. It touches no other server. See docs/torture.md.

    Parameters
    ----------
    minutes
        How long. Each kind of fault comes at least once, so a very short run takes longer.
    seed
        Which run: the same seed draws the same faults and calls, as far as a machine repeats. Else one is drawn.
    clients
        How many clients send at the same time.
    rate
        Events a second that all of them together send while the server takes them.
    keep
        Keep the folder of the run also where all is well.
    format
        `json` is one object.
    """
    enter_namespace(sys.argv[1:])
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # it cleans up as after Ctrl-C
    seconds = minutes * _MINUTE_S
    plan = Plan(
        seconds,
        secrets.randbelow(_SEEDS) if seed is None else seed,
        clients=clients,
        rate=rate,
        hurry=min(max(1.0, _MINUTE_S / seconds), _HURRY_MAX),
        keep=keep,
    )
    outcome = _run_shown(plan)
    if format == "json":
        report.print_json(as_json(plan, outcome))
    else:
        _print(plan, outcome)
    return 0 if outcome.verdict.passed else 1


def as_json(plan: Plan, outcome: Outcome) -> dict[str, Any]:
    """All figures of a run."""
    verdict = outcome.verdict
    return {
        "passed": verdict.passed,
        "seed": plan.seed,
        "seconds": round(outcome.seconds, 1),
        "clients": plan.clients,
        "faults": outcome.faults,
        "disk_full_by": outcome.disk,
        "server_starts": outcome.starts,
        "retries": outcome.retries,
        "total": vars(verdict.total()),
        "sources": {source: vars(tally) for source, tally in verdict.tallies.items()},
        "bad_calls": {"sent": verdict.bad_sent, "refused": verdict.bad_refused, "kept": verdict.bad_kept},
        "broken_off_kept": verdict.broken_off_kept,
        "offences": {what: {"count": n, "first": verdict.first.get(what, [])} for what, n in verdict.offences.items()},
        "unbalanced": verdict.unbalanced,
        "problems": verdict.more,
        "folder": str(outcome.folder) if outcome.folder else None,
    }


def _run_shown(plan: Plan) -> Outcome:
    """Runs it; progress goes to standard error, in place on a terminal, else as a line now and then."""
    errors = Console(stderr=True, highlight=False, markup=False, emoji=False)
    errors.print(f"seed {plan.seed}", style="dim")
    if errors.is_terminal:
        with Live(console=errors, transient=True, auto_refresh=False) as live:
            return run(plan, lambda progress: live.update(_line(progress), refresh=True))
    told_at = 0.0

    def tell(progress: Progress) -> None:
        nonlocal told_at
        if time.monotonic() >= told_at:
            told_at = time.monotonic() + _LINE_EVERY_S
            errors.print(_line(progress), soft_wrap=True)

    return run(plan, tell)


def _line(progress: Progress) -> Text:
    elapsed, planned = int(progress.seconds), int(progress.plan.seconds)
    head = f"{progress.phase}  {elapsed // 60}:{elapsed % 60:02} of {planned // 60}:{planned % 60:02}"
    figures = f"{progress.acknowledged:,} events answered with success, repeats too  {progress.retries:,} failed tries"
    figures += f"  {progress.starts:,} starts"
    return Text.assemble((head, "bold"), f"  {figures}  ", (", ".join(progress.running), "yellow"))


def _print(plan: Plan, outcome: Outcome) -> None:
    show, verdict = report.console.print, outcome.verdict
    minutes, seconds = divmod(round(outcome.seconds), _MINUTE_S)
    show(
        f"{minutes} min {seconds} s with seed {plan.seed}: {plan.clients} clients, {outcome.retries:,} failed tries,"
        f" {outcome.starts:,} starts of the server; the disk was full by {outcome.disk}"
    )
    show(_faults(outcome), soft_wrap=False)
    show(_sources({**verdict.tallies, "all": verdict.total()}), soft_wrap=False)
    show(
        f"bad calls: {verdict.bad_sent:,} sent, {verdict.bad_refused:,} refused, {verdict.bad_kept:,} kept;"
        f" {verdict.broken_off_kept:,} bodies that broke off were kept as refusals too"
    )
    for what, count in verdict.offences.items():
        show(Text(f"{what}: {count:,}, the first {', '.join(verdict.first.get(what, []))}", "bold red"))
    for row in verdict.unbalanced:
        show(Text(f"unbalanced: {row}", "bold red"))
    for problem in verdict.more:
        show(Text(problem, "bold red"))
    if outcome.folder:
        show(f"What the run left, for a look into it: {outcome.folder}")
    if verdict.passed:
        show(Text("Nothing lost, nothing double, and the books balance.", "bold green"))
    else:
        show(Text("FAILED", "bold red"))


def _faults(outcome: Outcome) -> Table:
    table = Table("fault", header_style="bold")
    table.add_column("times", justify="right")
    for name, times in outcome.faults.items():
        table.add_row(name, f"{times:,}")
    return table


def _sources(tallies: dict[str, Tally]) -> Table:
    """What the clients know and what SQL finds; then the server's own books."""
    table = Table("events", header_style="bold")
    for source in tallies:
        table.add_column(source, justify="right")
    for name in vars(Tally()):
        if name == _LEDGER[0]:
            table.add_section()
        shown = f"ledger: {name}" if name in _LEDGER else name
        table.add_row(shown, *(f"{vars(tally)[name]:,}" for tally in tallies.values()))
    return table
