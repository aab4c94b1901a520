"""The times of every client of Moesif (contracts/moesif.md 2.8, 6.10) and the window they are in (6.24)."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from tests.dialects.moesif_calls import ACTION, CALL, NOW, action, api_call, events, fault, moesif

UTC_TIME = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NAIVE = datetime(2026, 1, 2, 3, 4, 5)
PYTHON, KONG = "moesifapi-python/1.5.5", "kong-plugin-moesif/2.0.0"
MS = timedelta(milliseconds=1)


class TestTimes:
    @pytest.mark.parametrize(
        ("text", "time"),
        [
            ("2026-01-02T03:04:05.678901", NAIVE + 678.901 * MS),  # python, without a zone
            ("2026-01-02T03:04:05.678901+00:00", UTC_TIME + 678.901 * MS),  # python, with one
            ("2026-01-02T03:04:05.678", NAIVE + 678 * MS),  # asgi, wsgi, django, java
            ("2026-01-02T03:04:05.678Z", UTC_TIME + 678 * MS),  # node, browser
            ("2026-01-02t03:04:05.678z", UTC_TIME + 678 * MS),  # RFC 3339 in lower case
            ("2026-01-02T03:04:05.678901234Z", UTC_TIME + 678.901 * MS),  # go
            ("2026-01-02T03:04:05.678901234+01:00", UTC_TIME + 678.901 * MS - timedelta(hours=1)),
            ("2026-01-02T03:04:05+0000", UTC_TIME),  # php
            ("2026-01-02T03:04:05-0530", UTC_TIME + timedelta(hours=5.5)),
            ("2026-01-02T03:04:05.6789012Z", UTC_TIME + 678.901 * MS),  # c#
            ("2026-01-02T03:04:05.6789012+00:00", UTC_TIME + 678.901 * MS),
            ("2026-01-02T03:04:05.6789012", NAIVE + 678.901 * MS),
            ("2026-01-02T03:04:05.5", NAIVE + 500 * MS),
            ("2026-01-02T03:04:05.05Z", UTC_TIME + 50 * MS),
            ("2026-01-02T03:04:05", NAIVE),
            ("2026-01-02T03:04:05Z", UTC_TIME),
            ("2026-01-02T03:04Z", UTC_TIME.replace(second=0)),
            ("2026-01-02T03:04", NAIVE.replace(second=0)),
            ("2026-01-02", NAIVE.replace(hour=0, minute=0, second=0)),
            ("2026-01-02 03:04:05", NAIVE),
            (1_767_323_045_000, UTC_TIME),  # raw node objects
            (1_767_323_045_678, UTC_TIME + 678 * MS),
            (1_767_323_045_678.0, UTC_TIME + 678 * MS),
            (0, datetime(1970, 1, 1, tzinfo=UTC)),
        ],
    )
    def test_10_every_form_of_every_client_is_read(self, text: Any, time: datetime) -> None:
        for only in (
            action({"request": {"time": text}}, headers={"user-agent": PYTHON}),
            api_call({}, request={"time": text}, headers={"user-agent": PYTHON}),
        ):
            assert only.time == time
            assert only.time.tzinfo is (UTC if time.tzinfo else None)

    @pytest.mark.parametrize(
        ("text", "time"),
        [
            ("2026-01-02T03:04:05.5", NAIVE + 5 * MS),
            ("2026-01-02T03:04:05.50", NAIVE + 50 * MS),
            ("2026-01-02T03:04:05.678", NAIVE + 678 * MS),
            ("2026-01-02T03:04:05", NAIVE),
            ("2026-01-02T03:04:05.5Z", UTC_TIME + 500 * MS),
            ("2026-01-02T03:04:05.5000", NAIVE + 500 * MS),
            (1_767_323_045_678, UTC_TIME + 678 * MS),
        ],
    )
    def test_10_kong_writes_milliseconds_without_leading_zeros(self, text: Any, time: datetime) -> None:
        assert api_call({}, request={"time": text}, headers={"user-agent": KONG}).time == time

    def test_kongs_way_is_kongs_alone(self) -> None:
        for headers in ({}, {"user-agent": PYTHON}, {"user-agent": "x " + KONG}):
            assert api_call({}, request={"time": "2026-01-02T03:04:05.5"}, headers=headers).time == NAIVE + 500 * MS

    @pytest.mark.parametrize(
        "given",
        [
            *("", "soon", "2026", "2026-01", "2026-13-01", "2026-01-02T25:00", "2026-01-02T03:04:05+99:00", "\x00"),
            *(
                "1969-12-31T23:59:59Z",
                "1970-01-01T00:00:00+14:00",
                "2199-12-31T23:59:59-12:00",
                "2200-01-01",
                "0001-01-01T00:00:00",
                "9999-12-31T23:59:59-23:59",
            ),
            *(-1, 1e300, -1e300, 10**15, 10**30, 1e-400 - 1),
        ],
    )
    @pytest.mark.parametrize("agent", [PYTHON, KONG])
    def test_anything_else_is_refused(self, given: Any, agent: str) -> None:
        sent = {"user-agent": agent}
        assert fault("/v1/actions", {"action_name": "A", "request": {"time": given}}, headers=sent) == (
            400,
            "invalid_field",
            "$.request.time",
        )
        response = {"status": 200, "time": given}
        assert fault("/v1/events", CALL | {"response": response}, headers=sent)[2] == "$.response.time"

    @pytest.mark.parametrize("given", [True, [], {}])
    def test_only_texts_and_numbers_are_times(self, given: Any) -> None:
        assert fault("/v1/actions", {"action_name": "A", "request": {"time": given}})[2] == "$.request.time"

    def test_24_an_event_outside_the_window_is_late_or_refused(self) -> None:
        refusing = moesif(time_window="reject", time_window_days=30)
        for age, zone, late in ((29, "Z", False), (31, "Z", True), (29, "", False), (31, "", True)):
            time = (NOW - timedelta(days=age)).replace(tzinfo=None).isoformat() + zone
            body = {"action_name": "A", "request": {"time": time}}
            assert events("/v1/actions", body, dialect=moesif(time_window_days=30))[0].late is late
            if late:
                where = (400, "event_too_old", "$[1].request.time")
                assert fault("/v1/actions/batch", [ACTION, body], dialect=refusing) == where
            else:
                assert not events("/v1/actions", body, dialect=refusing)[0].late

    def test_an_offset_is_taken_into_account(self) -> None:
        edge = (NOW - timedelta(days=7)).astimezone(timezone(timedelta(hours=-8)))
        assert not action({"request": {"time": edge.isoformat()}}).late
        assert action({"request": {"time": (edge - MS).isoformat()}}).late
