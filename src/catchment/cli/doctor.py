"""`catchment doctor`: what a sender should mend though it was accepted, for a person or for a build."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.text import Text

from catchment import config
from catchment.cli import asking, report
from catchment.cli.options import DEFAULT_DATA_DIR, DataDir, Flag, Source
from catchment.doctor import Finding, Report, examine
from catchment.store.store import QueryError, Rows

MINUTES_MAX = 366 * 24 * 60
_STYLES = {"error": "bold red", "warning": "yellow", "info": "cyan"}


def doctor(
    *,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    minutes: Annotated[int, Parameter(validator=Number(gte=1, lte=MINUTES_MAX))] = 60,
    app: str | None = None,
    source: Source | None = None,
    strict: Flag = False,
    format: Literal["table", "json"] = "table",
) -> int:
    """Point out what senders should mend though it was accepted.

    docs/doctor.md has the checks.

    Parameters
    ----------
    minutes
        How far back to look, by arrival.
    app
        Only traffic of this application.
    source
        Only calls to this vendor's API.
    strict
        Exit with 1 if there is an error or a warning, or no traffic at all; for builds.
    format
        `json` is one object, with the findings as an array.
    """
    settings = config.in_use(data_dir)
    with asking.asker(settings, data_dir, caught_up=True) as ask:

        def put(query: str, parameters: Mapping[str, Any]) -> Rows:
            try:
                return ask(query, parameters)
            except asking.CannotAsk as error:
                raise QueryError(str(error)) from None

        try:
            found = examine(put, minutes=minutes, app=app or "", source=source or "")
        except QueryError as error:
            raise asking.CannotAsk(str(error)) from None
    if format == "json":
        report.print_json(_as_json(found, minutes))
    else:
        _print(found, minutes)
    return 1 if strict and found.failed() else 0


def _print(found: Report, minutes: int) -> None:
    show = report.console.print
    span = "the last minute" if minutes == 1 else f"the last {minutes} minutes"
    if not found.events and not found.refused:
        show(f"No traffic in {span}: nothing to look at. Send something, or look further back with --minutes.")
        return
    looked_at = f"Looked at {_count(found.events, 'event')} and {_count(found.refused, 'refused call')} of {span}."
    show(looked_at + (f" Texts were read in one of {found.every}." if found.every > 1 else ""))
    for finding in found.findings:
        show()
        _print_finding(finding)
    for name, reason in found.skipped.items():
        show()
        show(Text(f"skipped  {name}: {report.one_line(reason)}", "red"))
    show()
    counts = {severity: sum(finding.check.severity == severity for finding in found.findings) for severity in _STYLES}
    told = [_count(counts["error"], "error"), _count(counts["warning"], "warning"), f"{counts['info']} info"]
    show(", ".join(told) + "." if found.findings else "Nothing to mend: well done.")


def _print_finding(finding: Finding) -> None:
    check = finding.check
    where = f"{finding.app or '(no valid key)'}, {finding.source}"
    head = Text.assemble((f"{check.severity:<8} ", _STYLES[check.severity]), (check.code, "bold"), f"  {check.title}")
    example = "  ".join(filter(None, (finding.event_id, finding.name, finding.detail)))
    report.console.print(head)
    report.console.print(f"         {where}: {finding.found:,} of {finding.of:,} ({_percent(finding.share)})")
    report.console.print(f"         example  {report.one_line(example)}")
    report.console.print(f"         mend     {check.advice}")
    report.console.print(Text(f"         rule     {check.rule}", "dim"))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _percent(share: float) -> str:
    return "less than 0.1 %" if 0 < share < 0.001 else f"{100 * share:.3g} %"


def _as_json(found: Report, minutes: int) -> dict[str, Any]:
    return {
        "minutes": minutes,
        "events": found.events,
        "refused": found.refused,
        "texts_read_in_one_of": found.every,
        "findings": [
            {
                "code": finding.check.code,
                "severity": finding.check.severity,
                "title": finding.check.title,
                "app": finding.app,
                "source": finding.source,
                "found": finding.found,
                "of": finding.of,
                "share": round(finding.share, 6),
                "example": {"event_id": finding.event_id, "name": finding.name, "detail": finding.detail},
                "rule": finding.check.rule,
                "advice": finding.check.advice,
            }
            for finding in found.findings
        ],
        "skipped": found.skipped,
        "passed": not found.failed(),
    }
