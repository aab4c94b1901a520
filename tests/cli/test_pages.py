"""docs/refused.md and docs/doctor.md say what is so: their commands are run, and their tables are compared. And what
pages and messages must not make a stranger read."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from catchment.cli import torture
from catchment.doctor import CHECKS, SAMPLED_EVENTS_MAX
from catchment.torture.run import Plan, Progress
from tests.conftest import AppOf, until
from tests.test_docs import DOCS, blocks, send

REFUSED, DOCTOR = DOCS / "refused.md", DOCS / "doctor.md"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[57][0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
WRITE = os.environ.get("CATCHMENT_WRITE_PAGES")  # set it, and the page gets what the commands print


@pytest.fixture
def folder(app: AppOf, tmp_path: Path) -> Path:
    """A folder with the data of the running server as `data`, and the program in `bin`."""
    program = tmp_path / "bin" / "catchment"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m catchment "$@"\n')
    program.chmod(0o700)
    (tmp_path / "data").symlink_to(app.server.data_dir)
    return tmp_path


def told(folder: Path, command: str) -> str:
    path = f"{folder / 'bin'}:/usr/bin:/bin"
    done = subprocess.run(
        ["sh", "-eu", "-c", command], cwd=folder, env={"PATH": path}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def without_chance(text: str, app: AppOf) -> str:
    """The text with the page's application, and the same id and time everywhere."""
    text = re.sub(rf"\b{app.name}\b", "shop", text)
    text = re.sub(UUID, "019cadf2-7e95-7000-8000-000000000002", text)
    text = re.sub(r"python-httpx/[0-9.]+", "curl/8.5.0", text)
    return re.sub(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?", lambda at: "2026-03-02 10:00:00" + ".000" * bool(at[1]), text
    )


def test_the_walk_through_refusals_prints_what_the_page_says(app: AppOf, folder: Path) -> None:
    page = REFUSED.read_text("utf-8")
    rejection = ""
    command = ""
    for block in blocks(REFUSED):
        if block.info.startswith("http"):
            assert send(app, block.text).status_code == int(block.info.split()[1])
            rejection = app.rejections(1)[0]["rejection_id"]
        elif block.info == "sh":
            command = block.text.replace("shop", app.name).replace(" ID", f" {rejection}")
        else:
            printed = without_chance(told(folder, command), app)
            if "--yes" in command:
                app.events(2)
                until(lambda: app.rejections(1)[0]["replayed_at"] is not None, within_s=60)
            if WRITE:
                page = page.replace(f"```text\n{block.text}```", f"```text\n{printed}```", 1)
                REFUSED.write_text(page, "utf-8")
            else:
                assert printed == block.text


def test_the_commands_of_the_doctor_page_work_when_pasted(app: AppOf, folder: Path) -> None:
    for block in blocks(DOCTOR):
        command = block.text.strip().replace(" --strict", "") + f" --app {app.name}"
        assert told(folder, command)


def test_the_doctor_page_has_every_check() -> None:
    section = DOCTOR.read_text("utf-8").partition("## The checks")[2]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.+?) \| (.+?) \| (.+) \|$", section, re.MULTILINE)
    assert f"{SAMPLED_EVENTS_MAX:,}".replace(",", " ") in DOCTOR.read_text("utf-8")
    assert rows == [(check.code, check.severity, check.title, check.rule, check.advice) for check in CHECKS]


def test_each_rule_of_the_doctor_is_where_everybody_can_read_it() -> None:
    for check in CHECKS:
        page, _, _ = check.rule.partition(", ")
        if page.startswith("docs/"):
            assert (DOCS.parent / page).is_file()
        else:
            assert page.startswith(("Batch ", "Moesif ", "Moloco "))
            assert ".md" not in check.rule


def test_no_figure_of_the_configuration_page_has_an_exponent_or_the_unit_of_something_else() -> None:
    page = (DOCS / "configuration.md").read_text("utf-8")
    assert not re.search(r"\de\+\d", page)
    [row] = [line for line in page.splitlines() if line.startswith("| `connections_max` |")]
    assert row.split(" | ")[4] == "connections"


def test_the_words_of_a_torture_say_what_is_counted() -> None:
    progress = Progress(Plan(60.0, 1), phase="fire", acknowledged=1234, retries=5, starts=2)
    told = torture._line(progress).plain
    assert "1,234 events answered with success, repeats too  5 failed tries  2 starts" in told
    assert "acknowledged" not in told  # that is each event once, and a row of the table
