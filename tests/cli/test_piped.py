"""What is printed into a pipe or a file: it has no width, so nothing is cut or folded, unless COLUMNS says how wide."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.cli.test_status import WELL

NAME = "an-application-of-which-the-name-is-longer-than-a-line-of-a-terminal-is-wide-by-far-x"
TEXT = "word " * 2400 + "x" * 12_000
ROWS = """
    from catchment.cli import report
    from catchment.store.store import Column, Rows
    answer = json.load(sys.stdin)
    report.print_rows(Rows([Column(name, "String") for name in answer[0]], answer), "table")
"""
STATUS = """
    from catchment.cli import report
    report.print_status(json.load(sys.stdin))
"""


def piped(script: str, given: object, **environment: str) -> list[str]:
    """The lines that it prints, without a terminal anywhere."""
    lines = ["import json, sys", *(line.strip() for line in script.strip().splitlines())]
    kept = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=60,
        env=kept | environment,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.fixture
def status() -> dict[str, Any]:
    rate = {"app": NAME, "source": "moesif"}
    counts = dict.fromkeys(("events_last_minute", "events_last_hour", "events", "rejections"), 1_234_567)
    return WELL | {"rates": [rate | counts]}


def test_a_row_is_one_line_however_long_it_is() -> None:
    shown = piped(ROWS, [{"a": TEXT, "b": "1"}, {"a": "2", "b": TEXT}])
    assert sum(TEXT in line for line in shown) == 2
    assert len(shown) == 6


def test_a_table_of_very_many_columns_is_a_table() -> None:
    row = {f"column_{number}": "some words" for number in range(500)}
    assert sum(line.count("some words") == 500 for line in piped(ROWS, [row, row])) == 2


def test_rows_that_one_wide_cell_would_make_too_large_become_lists_and_nothing_is_cut() -> None:
    shown = piped(ROWS, [{"a": "x" * 300_000, "b": "1"}] + [{"a": "2", "b": "3"}] * 99)
    assert sum("x" * 300_000 in line for line in shown) == 1
    assert sum(map(len, shown)) < 1_000_000
    assert shown[-1] == "100 rows"


def test_status_is_not_cut(status: dict[str, Any]) -> None:
    [line] = [line for line in piped(STATUS, status) if NAME in line]
    assert line.count("1,234,567") == 4


@pytest.mark.parametrize("columns", ["0", "-1", "wide", ""])
def test_columns_that_say_no_width_are_none(columns: str) -> None:
    shown = piped(ROWS, [{"a": TEXT, "b": "1"}], COLUMNS=columns)
    assert sum(TEXT in line for line in shown) == 1


def test_columns_says_how_wide_it_is(status: dict[str, Any]) -> None:
    shown = piped(ROWS, [{"a": TEXT, "b": "1"}], COLUMNS="60")
    assert max(map(len, shown)) == 60
    table = piped(STATUS, status, COLUMNS="60")
    assert not any(NAME in line for line in table)
