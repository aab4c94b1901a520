"""What `catchment status` ends with, and what it keeps to itself: it is pasted into tickets. That a core which is away
and a folder that cannot be read end it with 1 is shown where these are made: `test_room`, `test_slow_core`,
`test_health`."""

import json
from typing import Any

import pytest

from catchment.cli import attention, keys
from catchment.cli.commands import run
from catchment.config import in_use
from tests.conftest import AppOf, Server, catchment, status
from tests.test_books import FIGURES as BALANCED

RUN: dict[str, Any] = {"pid": 7, "ingest": "http://i", "console": "http://c"}
FIGURES: dict[str, Any] = dict(BALANCED)
ROOM: dict[str, Any] = FIGURES["room"]
WELL: dict[str, Any] = FIGURES | {"running": RUN, "starting": False, "maintenance": None, "not_accepting": None}


@pytest.mark.parametrize(
    ("change", "lines", "code"),
    [
        ({}, [], 0),
        ({"maintenance": {"since": "2026-11-22T12:00:00Z", "reason": "a new disk"}}, [], 0),
        ({"running": None}, [], 3),
        ({"running": None, "starting": True}, [], 3),
        ({"not_accepting": "it does not answer"}, ["edge"], 1),
        ({"unanswered": "no answer"}, ["core"], 1),
        ({"running": None, "unanswered": "the store does not open"}, ["core"], 1),
        ({"loader": {"failing_for_seconds": 0.1, "last_error": "no", "unreadable": []}}, ["store"], 1),
        ({"loader": {"failing_for_seconds": None, "unreadable": ["edge-0: no"]}}, ["log"], 1),
        ({"books": FIGURES["books"] | {"difference": -1}}, ["books"], 1),
        ({"room": ROOM | {"short": "log_full"}}, ["room"], 1),
        ({"room": ROOM | {"seconds_left": 3599}}, ["room"], 1),
        ({"room": ROOM | {"seconds_left": 3600}}, [], 0),
        ({"running": None, "books": FIGURES["books"] | {"difference": 2}}, ["books"], 1),
    ],
)
def test_each_red_line_needs_a_person_and_nothing_else_does(
    change: dict[str, Any], lines: list[str], code: int
) -> None:
    found = WELL | change
    assert attention.needed(found) == lines
    assert attention.exit_code(found) == code


def test_it_is_0_while_all_is_well_in_either_format(app: AppOf) -> None:
    assert json.loads(status(app.server.data_dir, "--format", "json", code=0))["attention"] == []
    assert status(app.server.data_dir, code=0).startswith("running ")


def test_it_is_2_where_there_is_no_configuration(app: AppOf) -> None:
    assert "there is no catchment.toml" in catchment("status", data_dir=app.server.data_dir / "log", code=2)


@pytest.mark.parametrize("style", ["text", "json"])
def test_it_prints_no_key_and_says_where_they_are(
    server: Server, capsys: pytest.CaptureFixture[str], style: str
) -> None:
    assert run(["status", "--format", style, "--data-dir", str(server.data_dir)]) == 0
    told = capsys.readouterr().out
    names = ("application_id", "rest_api_key", "live", "dev", "sdk", "api_key")
    found = [app[vendor] for app in keys.of_apps(in_use(server.data_dir)) for vendor in ("moesif", "batch", "moloco")]
    secrets = [given[name] for given in found for name in names if given.get(name)]
    assert len(secrets) >= 6
    assert not [secret for secret in secrets if secret in told]
    assert style == "json" or told.endswith("keys     `catchment keys` prints them\n")
