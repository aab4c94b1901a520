"""When what is too old is removed: once a day, at the start, and not on the word of a clock that jumps."""

import asyncio
import logging
import threading
import time
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from catchment import config, retention, wiring
from catchment.config import first_file
from catchment.retention import DAY_S, QUIET_S, SETTLE_S, Retention, cutoffs
from catchment.settings import Settings
from catchment.store.expiry import Cutoffs, Removed
from catchment.store.store import StoreError
from catchment.tokens import token_hash
from tests.conftest import Server, until, write_apps
from tests.store.contract import event, lines

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC).timestamp()
MIDNIGHT = int(NOON) - DAY_S // 2


def settings_with(**tables: object) -> Settings:
    document = tomllib.loads(first_file(token_hash("")))
    document["apps"]["default"]["moesif"] |= tables.get("moesif", {})
    document["apps"]["default"]["batch"] |= tables.get("batch", {})
    return Settings.model_validate(document | {"retention": tables.get("common", {})})


class Keeper:
    """A retention whose clocks and store are the test's."""

    def __init__(self, *, known: float = NOON) -> None:
        self.now = NOON
        self.steady = 1000.0
        self.runs: list[Sequence[Cutoffs]] = []
        self.began: list[float] = []
        self.fails = 0
        self.settings = settings_with(moesif={"retention": {"events_days": 30}})
        self.stop = threading.Event()
        self.retention = Retention(
            lambda: self.settings, self.remove, lambda: known, clock=lambda: self.now, steady=lambda: self.steady
        )

    def remove(self, limits: Sequence[Cutoffs], stop: threading.Event, *, at: float) -> Removed:
        if self.fails:
            self.fails -= 1
            raise StoreError("no room")
        self.runs.append(limits)
        self.began.append(at)
        return Removed(events=1)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.steady += seconds

    def look(self) -> int:
        self.retention.look(self.stop)
        return len(self.runs)


def test_whole_days_of_utc_are_kept_by_application_and_source() -> None:
    settings = settings_with(
        moesif={"retention": {"events_days": 30, "rejections_days": 7, "bodies_days": 1}},
        batch={"retention": {"rejections_days": 90}},
    )
    assert cutoffs(settings, NOON) == [
        Cutoffs(
            "default",
            "moesif",
            events=MIDNIGHT - 30 * DAY_S,
            rejections=MIDNIGHT - 7 * DAY_S,
            bodies=MIDNIGHT - DAY_S,
        ),
        Cutoffs("default", "batch", rejections=MIDNIGHT - 90 * DAY_S),
        Cutoffs("", "", rejections=MIDNIGHT - 30 * DAY_S),
    ]


def test_without_a_setting_all_is_kept_but_refusals_of_nobody() -> None:
    assert [(limit.app, limit.source) for limit in cutoffs(settings_with(), NOON)] == [("", "")]
    assert cutoffs(settings_with(common={"unauthenticated_days": 0}), NOON) == []


def test_it_removes_at_the_start_and_once_a_day() -> None:
    keeper = Keeper()
    assert keeper.look() == 1
    keeper.pass_time(DAY_S / 2 - 1)
    assert keeper.look() == 1
    keeper.pass_time(2)
    assert keeper.look() == 2
    assert keeper.runs[1][0].events == keeper.runs[0][0].events + DAY_S


def test_a_change_of_the_settings_is_taken_without_a_restart() -> None:
    keeper = Keeper()
    keeper.look()
    keeper.settings = settings_with(moesif={"retention": {"events_days": 3}})
    keeper.pass_time(DAY_S / 2)
    keeper.look()
    assert keeper.runs[1][0].events == MIDNIGHT + DAY_S - 3 * DAY_S


def test_a_clock_that_goes_ahead_removes_nothing_until_it_has_stayed_there_for_an_hour(
    caplog: pytest.LogCaptureFixture,
) -> None:
    keeper = Keeper()
    keeper.look()
    keeper.now += 4000 * DAY_S
    assert keeper.look() == 1
    assert "4000.0 days have passed" in caplog.text
    keeper.pass_time(SETTLE_S / 2)
    keeper.look()
    keeper.now -= 4000 * DAY_S  # somebody set it right
    keeper.pass_time(SETTLE_S)
    assert keeper.look() == 1
    keeper.pass_time(DAY_S / 2)
    assert keeper.look() == 2, "and the day of that time comes as ever"


def test_a_clock_that_stays_ahead_is_believed_after_an_hour() -> None:
    keeper = Keeper()
    keeper.look()
    keeper.now += 40 * DAY_S
    keeper.look()
    keeper.pass_time(SETTLE_S + 1)
    assert keeper.look() == 2


def test_a_start_long_after_the_last_moment_that_is_known_waits_an_hour() -> None:
    keeper = Keeper(known=NOON - QUIET_S - 1)
    assert keeper.look() == 0
    keeper.pass_time(SETTLE_S + 1)
    assert keeper.look() == 1


def test_a_store_in_which_nothing_arrived_yet_waits_for_nothing() -> None:
    assert Keeper(known=0).look() == 1


def test_a_clock_that_is_set_back_removes_nothing_more() -> None:
    keeper = Keeper()
    keeper.look()
    keeper.now -= 3 * DAY_S
    keeper.look()
    assert keeper.runs[1][0].events == keeper.runs[0][0].events - 3 * DAY_S
    assert keeper.began == [NOON, keeper.now], "and a clock that goes there again is not believed at once"


def test_a_removal_that_fails_is_tried_again_and_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retention, "LOOK_S", 0.0)
    caplog.set_level(logging.INFO)
    keeper = Keeper()
    keeper.fails = 1
    remove = keeper.remove

    def then_stop(limits: Sequence[Cutoffs], stop: threading.Event, *, at: float) -> Removed:
        keeper.pass_time(retention.RETRY_S / 2)
        try:
            return remove(limits, stop, at=at)
        finally:
            if keeper.runs:
                stop.set()

    looks = 0

    def steady() -> float:
        nonlocal looks
        looks += 1
        keeper.pass_time(1)
        return keeper.steady

    keeper.retention._remove, keeper.retention._steady = then_stop, steady
    keeper.retention.run(keeper.stop)
    assert len(keeper.runs) == 1
    assert looks > retention.RETRY_S / 2, "not at once"
    assert "no room" in caplog.text
    assert "removed 1 events" in caplog.text


async def _append(data_dir: Path, *records: dict[str, object]) -> None:
    writer = wiring.log_writer(config.load(data_dir), data_dir, asyncio.get_running_loop())
    await writer.append(lines(*records))
    await writer.close()


def test_a_server_removes_what_is_too_old_when_it_starts(tmp_path: Path) -> None:
    write_apps(tmp_path, ["default"])
    now_us = int(time.time() * 1_000_000)
    old = event("old", app="default", received_us=now_us - 40 * DAY_S * 1_000_000, edge="e", tally=1)
    new = event("new", app="default", received_us=now_us, edge="e", tally=1)
    asyncio.run(_append(tmp_path, old, new))
    server = Server(tmp_path, "--workers", "1")
    try:
        assert len(server.rows_when(2, "SELECT event_id FROM events")) == 2
        assert server.stop() == 0
        with (tmp_path / config.FILE_NAME).open("a") as file:
            file.write("\n[apps.default.moesif.retention]\nevents_days = 30\n")
        server.start()
        until(lambda: server.sql("SELECT event_id FROM events") == [{"event_id": "new"}], within_s=120)
        enforced = "SELECT max(enforced_at) > now() - 600 AS so FROM kept_from"
        until(lambda: bool(server.sql(enforced)[0]["so"]), within_s=60)
        assert server.sql("SELECT received FROM ledger") == [{"received": 1}]
    finally:
        assert server.stop() == 0
