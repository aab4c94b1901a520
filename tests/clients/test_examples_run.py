"""Every Python program in `examples/` runs as it stands, and what it sends arrives."""

import re
from pathlib import Path

import pytest

from tests.clients.python_programs import ROOT, Program
from tests.conftest import AppOf

# Program, and the user, name and direction of each of its events.
EXAMPLES = {
    "python_client.py": [("python-client-user", "POST /orders", "")],
    "starlette_app.py": [("starlette-user", f"GET /items/{number}", "Incoming") for number in range(5)],
    "flask_app.py": [("flask-user", f"GET /items/{number}", "Incoming") for number in range(5)],
    "django_site.py": [("django-user", f"GET /items/{number}", "Incoming") for number in range(5)],
    "outgoing_requests.py": [("requests-user", "GET /health/probe", "Outgoing")] * 3,
}

# The clients' timers may go off once more while Python is ending.
AT_END = re.compile(r".*Error submitting job(.*\n)+?.*cannot schedule new futures after shutdown\n")


def test_they_run_and_their_events_arrive(app: AppOf, tmp_path: Path) -> None:
    environment = {
        "CATCHMENT_URL": app.server.ingest,
        "CATCHMENT_APPLICATION_ID": app.keys["moesif"]["application_id"],
    }
    programs: dict[str, Program] = {}
    for name in EXAMPLES:  # all at one time, as most wait for their client to send
        folder = tmp_path / name
        folder.mkdir()
        programs[name] = Program(folder, f"examples/{name}", environment=environment)
    assert {name: program.end() for name, program in programs.items()} == dict.fromkeys(EXAMPLES, 0)
    for program in programs.values():
        assert not re.search("WARNING|ERROR|CRITICAL|Traceback", AT_END.sub("", program.logged)), program.logged
    expected = sorted(event for events in EXAMPLES.values() for event in events)
    rows = app.events(len(expected))
    assert sorted((row["user_id"], row["name"], row["direction"]) for row in rows) == expected
    assert app.rejections(0) == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_says_what_it_needs(name: str, tmp_path: Path) -> None:
    program = Program(tmp_path, f"examples/{name}", environment={"CATCHMENT_URL": "http://127.0.0.1:8080"})
    assert program.end() == 1
    assert "CATCHMENT_APPLICATION_ID" in program.logged


def test_the_table_has_every_program() -> None:
    table = (ROOT / "examples" / "README.md").read_text()
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == EXAMPLES.keys()
    assert all(f"[{name}]({name})" in table for name in EXAMPLES)
