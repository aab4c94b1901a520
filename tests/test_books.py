"""How the state of the books is told: `catchment status`, and metrics."""

import threading
from typing import Any

import pytest

from catchment.api import metrics as metrics_module
from catchment.api.metrics import FRESH, METRICS, Metrics
from catchment.cli import report
from catchment.loader import Loader
from catchment.settings import Loader as LoaderSettings
from catchment.store.store import QueryError
from tests.conftest import AppOf, until
from tests.test_loader import ListLog, PickyStore, line

SUMS = {"received": 1234, "stored": 1200, "duplicate": 30, "rejected": 4, "late": 7, "difference": 0}
ROW = {"app": "shop", "source": "moesif", "since": ""}
FIGURES: dict[str, Any] = {
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
    "room": {
        "unread_bytes": 10,
        "unread_bytes_max": 100,
        "free_bytes": 1000,
        "free_bytes_min": 10,
        "short": "",
        "bytes_per_second": None,
        "seconds_left": None,
    },
    "retention": {"enforced_at": "2026-11-22 00:00:31"},
    "running": None,
}
PULSE = {
    "unread_bytes": 10,
    "unread_records": 2,
    "lag_seconds": 0.5,
    "failing": False,
    "unreadable_folders": 1,
    "log_bytes": 1,
    "unsynced_bytes_max": 4,
    "free_bytes": 3,
    "room": {"seconds_left": 7},
    "maintenance": False,
}


@pytest.fixture(autouse=True)
def _scrapes_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the store's figures, however long a busy machine lets their thread wait."""
    monkeypatch.setattr(metrics_module, "PATIENCE_S", 60.0)


def test_status_tells_in_a_line_that_the_books_balance(capsys: pytest.CaptureFixture[str]) -> None:
    report.print_status(FIGURES | {"rates": []})
    line = "books    balance over 24 h: 1,234 received = 1,200 stored + 30 duplicate + 4 rejected\n"
    assert line in capsys.readouterr().out


def test_status_tells_by_how_much_the_books_differ_and_since_when(capsys: pytest.CaptureFixture[str]) -> None:
    off = SUMS | {"difference": 3}
    books = {"hours": 24, **off, "rows": [ROW | off | {"since": "2026-11-22 12:00:00"}, ROW | SUMS]}
    report.print_status(FIGURES | {"rates": [], "books": books})
    assert (
        "books    differ over 24 h by 3: 1,234 received, 1,200 stored + 30 duplicate + 4 rejected\n"
        "         shop moesif: by 3 since 2026-11-22 12:00:00\n"
    ) in capsys.readouterr().out


def test_status_tells_what_takes_the_disk_part_by_part(capsys: pytest.CaptureFixture[str]) -> None:
    report.print_status(FIGURES | {"rates": []})
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
    text = Metrics(lambda: FIGURES, lambda: PULSE).text().decode()
    for sample in (
        'catchment_ledger_difference{app="shop",source="moesif"} 0.0',
        'catchment_ledger_records{app="shop",outcome="duplicate",source="moesif"} 30.0',
        'catchment_store_events{app="shop",source="moesif"} 5.0',
        "catchment_store_bytes 9e+08",
        "catchment_backlog_bytes 10.0",
        "catchment_lag_events 2.0",
        "catchment_loader_failing 0.0",
        "catchment_log_unreadable_folders 1.0",
        "catchment_disk_free_bytes 3.0",
        "catchment_room_seconds 7.0",
        'catchment_disk_bytes{what="log_aside"} 3e+06',
        "catchment_log_aside_files 2.0",
        'catchment_table_rows{table="event_rows"} 1.234567e+06',
    ):
        assert f"\n{sample}\n" in text
    assert text.count("# HELP ") == len(METRICS) + len(FRESH)


def test_metrics_that_took_long_are_kept_for_ten_times_as_long_and_the_others_are_not() -> None:
    now, asked, looked = 0.0, 0, 0

    def gather() -> dict[str, Any]:
        nonlocal now, asked
        now, asked = now + 3, asked + 1
        return FIGURES

    def look() -> dict[str, Any]:
        nonlocal looked
        looked += 1
        return PULSE | {"unread_bytes": 1000 + looked}

    metrics = Metrics(gather, look, clock=lambda: now)
    for moment, times in ((0, 1), (32, 1), (34, 2)):
        now = max(now, moment)
        text = metrics.text().decode()
        assert asked == times
        assert f"catchment_backlog_bytes {1000.0 + looked}\n" in text
        assert "catchment_store_bytes 9e+08\n" in text
    assert looked == 3


def test_a_scrape_does_not_wait_long_for_what_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_module, "PATIENCE_S", 0.01)
    done = threading.Event()

    def gather() -> dict[str, Any]:
        done.wait(60)
        return FIGURES

    metrics = Metrics(gather, lambda: PULSE)
    for _ in range(2):
        text = metrics.text().decode()
        assert "catchment_backlog_bytes" in text
        assert "catchment_store_bytes" not in text
    done.set()
    until(lambda: b"catchment_store_bytes" in metrics.text(), within_s=60)


def test_figures_that_cannot_be_gathered_leave_the_others(caplog: pytest.LogCaptureFixture) -> None:
    def gather() -> dict[str, Any]:
        raise QueryError("no room")

    metrics = Metrics(gather, lambda: PULSE)
    text = metrics.text()
    assert b"catchment_backlog_bytes 10.0\n" in text
    assert b"catchment_store_bytes" not in text
    assert caplog.text.count("the store's metrics are not told: QueryError") == 1


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

    until(loaded, within_s=60, otherwise=lambda: str(found.get(app.name)))
    wanted = {"stored": 2, "duplicate": 1, "rejected": 1, "late": 1, "difference": 0, "since": ""}
    assert found[app.name].items() >= wanted.items()
