"""How the state of the books is told: `catchment status`, and metrics."""

import threading
from typing import Any

import pytest

from catchment.api.metrics import METRICS, Metrics
from catchment.cli import report
from catchment.loader import Loader
from catchment.settings import Loader as LoaderSettings
from tests.conftest import AppOf, until
from tests.test_loader import ListLog, PickyStore, line

SUMS = {"received": 1234, "stored": 1200, "duplicate": 30, "rejected": 4, "late": 7, "difference": 0}
ROW = {"app": "shop", "source": "moesif", "since": ""}
FIGURES = {
    "books": {"hours": 24, **SUMS, "rows": [ROW | SUMS]},
    "rates": [{"app": "shop", "source": "moesif", "events": 5, "rejections": 6}],
    "lag": {"unread_bytes": 10, "seconds": 0.5},
    "loader": {"failing_for_seconds": None, "unloadable_lines": 0, "last_error": ""},
    "disk": {
        "log_bytes": 6_000_000,
        "log_unread_bytes": 1_000_000,
        "log_loaded_bytes": 2_000_000,
        "log_aside_bytes": 3_000_000,
        "log_aside_files": 2,
        "store_bytes": 900_000_000,
        "answers_bytes": 0,
        "other_bytes": 500,
        "free_bytes": 3,
        "tables": [{"table": "event_rows", "rows": 1_234_567, "bytes": 800_000_000}],
    },
    "retention": {"enforced_at": "2026-11-22 00:00:31"},
    "running": None,
}


def test_status_tells_in_a_line_that_the_books_balance(capsys: pytest.CaptureFixture[str]) -> None:
    report.print_status(FIGURES | {"rates": []}, [])
    line = "books    balance over 24 h: 1,234 received = 1,200 stored + 30 duplicate + 4 rejected\n"
    assert line in capsys.readouterr().out


def test_status_tells_by_how_much_the_books_differ_and_since_when(capsys: pytest.CaptureFixture[str]) -> None:
    off = SUMS | {"difference": 3}
    books = {"hours": 24, **off, "rows": [ROW | off | {"since": "2026-11-22 12:00:00"}, ROW | SUMS]}
    report.print_status(FIGURES | {"rates": [], "books": books}, [])
    assert (
        "books    differ over 24 h by 3: 1,234 received, 1,200 stored + 30 duplicate + 4 rejected\n"
        "         shop moesif: by 3 since 2026-11-22 12:00:00\n"
    ) in capsys.readouterr().out


def test_status_tells_what_takes_the_disk_part_by_part(capsys: pytest.CaptureFixture[str]) -> None:
    report.print_status(FIGURES | {"rates": []}, [])
    told = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in told.splitlines()]
    at = lines.index("disk 906.0 MB used, 3 B free")
    assert lines[at + 1 : at + 7] == [
        "log, not loaded yet 1.0 MB",
        "log, loaded 2.0 MB",
        "log, set aside in 2 files 3.0 MB",
        "store, event_rows 800.0 MB 1,234,567 rows",
        "store, merged parts and the rest 100.0 MB",
        "everything else 500 B",
    ]
    assert "`catchment log verify` tells where" in lines[at + 7]
    assert "last removed at 2026-11-22 00:00:31 UTC" in told


def test_metrics_have_a_value_for_each_figure() -> None:
    text = Metrics(lambda: FIGURES).text().decode()
    for sample in (
        'catchment_ledger_difference{app="shop",source="moesif"} 0.0',
        'catchment_ledger_records{app="shop",outcome="duplicate",source="moesif"} 30.0',
        'catchment_events{app="shop",source="moesif"} 5.0',
        "catchment_backlog_bytes 10.0",
        "catchment_loader_failing 0.0",
        'catchment_disk_bytes{what="free"} 3.0',
        'catchment_disk_bytes{what="log_aside"} 3e+06',
        "catchment_log_aside_files 2.0",
        'catchment_table_rows{table="event_rows"} 1.234567e+06',
    ):
        assert f"\n{sample}\n" in text
    assert text.count("# HELP ") == len(METRICS)


def test_metrics_that_took_long_are_kept_for_ten_times_as_long() -> None:
    now, asked = 0.0, 0

    def gather() -> dict[str, Any]:
        nonlocal now, asked
        now, asked = now + 3, asked + 1
        return FIGURES

    metrics = Metrics(gather, lambda: now)
    for moment, times in ((0, 1), (32, 1), (34, 2)):
        now = max(now, moment)
        metrics.text()
        assert asked == times


def test_nothing_is_inserted_while_somebody_looks() -> None:
    log, store = ListLog(line(1), line(2)), PickyStore()
    loader = Loader(log, store, LoaderSettings())
    with loader.pause():
        thread = threading.Thread(target=loader.step)
        thread.start()
        thread.join(0.05)
        assert store.lines == []
    thread.join()
    assert store.lines == [line(1)]


def test_the_status_of_a_server_has_the_books_of_an_application(app: AppOf) -> None:
    for _ in range(2):
        action = {"action_name": "A", "transaction_id": "t", "request": {"time": "2026-03-02T10:00:00Z"}}
        assert app.moesif("/v1/actions", action).status_code == 201
    assert app.moesif("/v1/users", {"user_id": "u"}).status_code == 201
    assert app.moesif("/v1/actions", {}).status_code == 400
    found: dict[str, Any] = {}

    def loaded() -> bool:
        books = app.server.api.get("/api/status").json()["books"]
        found.update({row["app"]: row for row in books["rows"]})
        return bool(found.get(app.name, {}).get("received") == 4)

    until(loaded, within_s=20, otherwise=lambda: str(found.get(app.name)))
    wanted = {"stored": 2, "duplicate": 1, "rejected": 1, "late": 1, "difference": 0, "since": ""}
    assert found[app.name].items() >= wanted.items()
