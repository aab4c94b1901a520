"""Bodies that the vendors' clients, samples and public users send: `tests/cases` has each call, its answer, and what
SQL then tells of it (contracts/batch.md 5, contracts/moloco.md 5, contracts/moesif.md 2 and 4).

In a path, a header or a column, LIVE_API_KEY and PLATFORM stand for those of the application. The answer's UUID stands
for any, and `types` are the types of the members of `properties`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from tests.conftest import AppOf, Server

CASES = Path(__file__).parent / "cases"
VENDORS = ("batch", "moloco", "moesif")


class Recorded(NamedTuple):
    """What the server made of a case; `rows` are those of its events, in order."""

    app: AppOf
    status: int
    answer: Any
    rows: list[dict[str, Any]]


def cases(vendor: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((CASES / f"{vendor}.json").read_text("utf-8"))
    return found


def filled_in(value: Any, app: AppOf) -> Any:
    if isinstance(value, dict):
        return {name: filled_in(inner, app) for name, inner in value.items()}
    keys = {"LIVE_API_KEY": app.keys["batch"]["live"], "PLATFORM": app.keys["moloco"]["platform"]}
    if isinstance(value, str):
        for word, key in keys.items():
            value = value.replace(word, key)
    return value


@pytest.fixture(scope="module")
def recorded(server: Server, _app_names: Iterator[str]) -> dict[str, Recorded]:
    """All cases, sent one after the other to one application, and asked for once."""
    app = AppOf(server, next(_app_names))
    answers: dict[str, Any] = {}
    wanted: list[str] = []
    for vendor, keys in zip(VENDORS, (app.batch_headers, app.moloco_headers, app.moesif_headers), strict=True):
        for case in cases(vendor):
            headers = keys | filled_in(case.get("headers", {}), app)
            answers[case["name"]] = app.post(filled_in(case["path"], app), case["body"].encode(), headers)
            wanted += [case["name"]] * len(case["events"])
    types = "JSONAllPathsWithTypes(properties) AS types"
    query = f"SELECT *, {types} FROM events WHERE app = {{app:String}} ORDER BY received_at"
    rows = server.rows_when(len(wanted), query, app=app.name)
    return {
        name: Recorded(
            app,
            answer.status_code,
            answer.json(),
            [row for owner, row in zip(wanted, rows, strict=True) if owner == name],
        )
        for name, answer in answers.items()
    }


def every_case() -> list[Any]:
    return [pytest.param(case, id=f"{vendor} {case['name']}") for vendor in VENDORS for case in cases(vendor)]


@pytest.mark.parametrize("case", every_case())
def test_a_recorded_call_is_answered_and_found_as_recorded(recorded: dict[str, Recorded], case: dict[str, Any]) -> None:
    app, status, answer, rows = recorded[case["name"]]
    if case["answer"] == {"token": "UUID"}:
        assert {row["request_token"] for row in rows} == {str(UUID(answer.pop("token")))}
        assert (status, answer) == (case["status"], {})
    else:
        assert (status, answer) == (case["status"], case["answer"])
    assert len(rows) == len(case["events"])
    for row, columns in zip(rows, case["events"], strict=True):
        assert {name: row[name] for name in columns} == filled_in(columns, app)


@pytest.mark.parametrize("case", [case for case in every_case() if case.values[0]["events"]])
def test_a_recorded_call_is_kept_as_it_was_sent(recorded: dict[str, Recorded], case: dict[str, Any]) -> None:
    sent = json.loads(case["body"])
    if "events" in sent:
        events = sent["events"]
    elif isinstance(sent, list):
        events = [event for element in sent for event in element.get("events", [element])]
    else:
        events = [sent]
    assert [json.loads(row["payload"]) for row in recorded[case["name"]].rows] == events
