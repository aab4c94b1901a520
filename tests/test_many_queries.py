"""More queries than may run: they wait without a thread, and hold up nothing but each other."""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from catchment.cli.commands import run
from tests.conftest import TOKEN, Server, until, write_apps
from tests.test_start import _seconds_of_work

WITHIN_S = 90.0
RUNNING, WAITING, ASKERS = 2, 4, 60
SLOW = "SELECT count() AS n FROM numbers(1000000000000) WHERE cityHash64(number) = 1"


@pytest.fixture
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server of which few queries fill all places, for so many seconds."""
    write_apps(tmp_path, ["default"])
    with (tmp_path / "catchment.toml").open("a") as file:
        file.write(
            f"\n[sql]\nseconds_max = {request.param}\nqueries_max = {RUNNING}\nqueries_waiting_max = {WAITING}\n"
        )
    server = Server(tmp_path)
    yield server
    assert server.stop(check_books=False) == 0


def _ask(server: Server) -> httpx.Response:
    headers = {"authorization": f"Bearer {TOKEN}"}
    return httpx.post(
        f"{server.console}/api/sql", json={"query": SLOW}, headers=headers, timeout=2 * WITHIN_S, trust_env=False
    )


@pytest.mark.parametrize("small", [30], indirect=True)  # some 3 s are needed, where nobody else wants the processors
def test_queries_that_fill_all_places_hold_up_neither_status_nor_a_revocation(small: Server) -> None:
    with ThreadPoolExecutor(ASKERS) as pool:
        asked: list[Future[httpx.Response]] = [pool.submit(_ask, small) for _ in range(ASKERS)]
        refused = ASKERS - RUNNING - WAITING
        until(lambda: sum(one.done() for one in asked) >= refused, within_s=WITHIN_S)
        began = time.monotonic()
        for path in ("/health/live", "/health/ready", "/api/status", "/metrics"):
            assert small.api.get(path).status_code == 200
        assert run(["token", "--data-dir", str(small.data_dir)]) == 0  # here, for a process takes its time to begin
        headers = {"authorization": f"Bearer {TOKEN}"}
        until(
            lambda: small.http.post(f"{small.console}/api/sql", content=b"x", headers=headers).status_code == 401,
            within_s=WITHIN_S,
        )
        took_s = time.monotonic() - began
        running = [one for one in asked if not one.done()]
        answers = [one.result(2 * WITHIN_S) for one in asked]
    assert len(running) == RUNNING + WAITING, f"after {took_s:.1f} s"  # all that was done while they had the places
    # What waited when the token was taken back is refused as well.
    assert Counter(answer.status_code for answer in answers) == {503: refused, 400: RUNNING, 401: WAITING}
    told = next(answer for answer in answers if answer.status_code == 503)
    assert told.headers["retry-after"] == "5"
    assert told.json()["error"].startswith(f"{RUNNING} queries run and {WAITING} wait already; send it again in 5 s")
    metrics = small.api.get("/metrics").text
    assert f'catchment_queries_total{{endpoint="sql",outcome="busy"}} {refused}.0' in metrics


@pytest.mark.parametrize("small", [20], indirect=True)
def test_a_query_whose_asker_has_gone_is_not_begun(small: Server) -> None:
    before = _seconds_of_work(small)
    with ThreadPoolExecutor(RUNNING) as pool:
        asked = [pool.submit(_ask, small) for _ in range(RUNNING)]
        until(lambda: _seconds_of_work(small) > before + 2, within_s=WITHIN_S)  # they have begun
        for _ in range(WAITING):
            with pytest.raises(httpx.ReadTimeout):
                small.api.post("/api/sql", json={"query": SLOW}, timeout=httpx.Timeout(WITHIN_S, read=0.5))
        assert [one.result(2 * WITHIN_S).status_code for one in asked] == [400] * RUNNING
    assert small.sql("SELECT 1 AS a") == [{"a": 1}]  # which had its turn behind them
    metrics = small.api.get("/metrics").text
    assert f'catchment_queries_total{{endpoint="sql",outcome="refused"}} {RUNNING}.0' in metrics
    assert 'catchment_queries_total{endpoint="sql",outcome="ok"} 1.0' in metrics
    assert 'outcome="failed"' not in metrics
