"""Limits of requests: buckets that several processes share, and what a sender is told."""

import contextlib
import fcntl
import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import tomlkit

from catchment import config
from catchment.edge import rates as rates_module
from catchment.edge.rates import LOCK_MS_MAX, Bucket, Rates
from catchment.settings import App, RateLimit
from tests.conftest import Server, until, write_apps

SECOND_NS = 1_000_000_000
ACTION = {"action_name": "A", "request": {"uri": "https://x/y"}}
BATCH = {"events": [{"name": "ue.x"}]}
TOO_MANY = "too many requests"
MOLOCO = {"event_type": "HOME", "channel_type": "SITE", "timestamp": 1617870506121, "user_id": "u"}


class Clock:
    """Nanoseconds that pass when the test says so."""

    def __init__(self, start_s: float = 1000) -> None:
        self.now = round(start_s * SECOND_NS)

    def __call__(self) -> int:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += round(seconds * SECOND_NS)


def limit(requests_per_second: float, burst_requests: int = 0) -> RateLimit:
    return RateLimit(requests_per_second=requests_per_second, burst_requests=burst_requests)


def app(**sources: Any) -> App:
    keys: dict[str, Any] = {
        "moesif": {"application_ids": ["m"]},
        "batch": {"rest_api_keys": ["b"]},
        "moloco": {"platforms": {"P": ["p"]}},
    }
    return App.model_validate({name: keys[name] | {"rate_limit": given} for name, given in sources.items()})


class TestBucket:
    def test_takes_the_burst_then_the_rate(self, tmp_path: Path) -> None:
        clock = Clock()
        bucket = Bucket(tmp_path / "b", limit(10, 3), clock)
        assert [bucket.take()[:3] for _ in range(4)] == [(True, 2, 0), (True, 1, 0), (True, 0, 1), (False, 0, 1)]
        clock.wait(0.1)
        assert [bucket.take().allowed for _ in range(2)] == [True, False]
        clock.wait(100)
        assert [bucket.take().allowed for _ in range(4)] == [True, True, True, False]

    def test_tells_when_the_next_may_come_and_when_it_is_full(self, tmp_path: Path) -> None:
        clock = Clock()
        bucket = Bucket(tmp_path / "b", limit(0.1, 2), clock)
        assert [bucket.take() for _ in range(3)] == [(True, 1, 0, 10), (True, 0, 10, 20), (False, 0, 10, 20)]
        clock.wait(7.5)
        assert bucket.take() == (False, 0, 3, 13)

    @pytest.mark.parametrize(
        ("given", "policy"),
        [
            (limit(100, 200), '"default";q=200;w=2'),
            (limit(100), '"default";q=100;w=1'),
            (limit(0.1), '"default";q=1;w=10'),
            (limit(2.5), '"default";q=3;w=2'),
        ],
    )
    def test_its_policy_is_the_burst_and_the_time_in_which_it_is_there_again(
        self, tmp_path: Path, given: RateLimit, policy: str
    ) -> None:
        assert Bucket(tmp_path / "b", given).policy == policy

    def test_two_processes_share_it_exactly_whichever_is_asked(self, tmp_path: Path) -> None:
        """The error is none: what one process idles through, another may use, and no more."""
        clock = Clock()
        first, second = (Bucket(tmp_path / "b", limit(100, 200), clock) for _ in range(2))
        assert sum(first.take().allowed for _ in range(300)) == 200
        assert not second.take().allowed
        for _ in range(50):  # the second has long been idle, and gets its turn at once
            clock.wait(0.1)
            assert sum(first.take().allowed for _ in range(20)) == 10
        clock.wait(1)
        assert sum(bucket.take().allowed for _ in range(150) for bucket in (first, second)) == 100

    def test_requests_at_the_same_instant_are_all_counted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rates_module, "LOCK_MS_MAX", 60_000.0)  # on a busy machine a thread may hold it for long
        buckets = [Bucket(tmp_path / "b", limit(0.001, 500)) for _ in range(4)]  # a lock of its own each
        allowed = [0] * len(buckets)

        def take(index: int) -> None:
            for _ in range(250):
                allowed[index] += buckets[index].take().allowed

        threads = [threading.Thread(target=take, args=(index,)) for index in range(len(buckets))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(allowed) == 500

    def test_outlives_its_processes(self, tmp_path: Path) -> None:
        clock = Clock()
        first = Bucket(tmp_path / "b", limit(10, 3), clock)
        assert [first.take().allowed for _ in range(3)] == [True] * 3
        first.close()
        assert not Bucket(tmp_path / "b", limit(10, 3), clock).take().allowed

    def test_a_process_that_is_stopped_with_the_lock_holds_nobody_up(self, tmp_path: Path) -> None:
        bucket = Bucket(tmp_path / "b", limit(0.001, 1))
        with (tmp_path / "b").open("rb") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            began = time.monotonic()
            assert bucket.take().allowed
            assert time.monotonic() - began >= LOCK_MS_MAX / 1000
            assert not bucket.take().allowed

    def test_a_clock_that_starts_again_refuses_for_no_longer_than_the_bucket_is_deep(self, tmp_path: Path) -> None:
        assert Bucket(tmp_path / "b", limit(10, 30), Clock(1e6)).take().allowed
        clock = Clock(0)
        bucket = Bucket(tmp_path / "b", limit(10, 30), clock)
        assert bucket.take() == (False, 0, 1, 3)
        clock.wait(3)
        assert sum(bucket.take().allowed for _ in range(40)) == 30


class TestRates:
    def test_without_a_limit_there_is_nothing_to_look_at(self, tmp_path: Path) -> None:
        rates = Rates(tmp_path / "rates", {"a": app(moesif=None), "b": app(batch={"requests_per_second": 0})})
        assert rates.buckets == {}
        assert not (tmp_path / "rates").exists()

    def test_each_application_and_source_has_its_own(self, tmp_path: Path) -> None:
        one = {"requests_per_second": 1}
        apps = {"a": app(moesif=one, batch=one), "b": app(moloco=one), "c": app(moesif=None)}
        rates = Rates(tmp_path / "rates", apps)
        for key in (("a", "moesif"), ("a", "batch"), ("b", "moloco")):
            answers = [rates.take(*key), rates.take(*key)]
            assert [answer and answer[0].allowed for answer in answers] == [True, False]
        assert rates.take("c", "moesif") is None
        taken = rates.take("a", "batch")
        assert taken
        assert taken[1] == [("ratelimit-policy", '"default";q=1;w=1'), ("ratelimit", '"default";r=0;t=1')]

    def test_other_settings_keep_what_was_used(self, tmp_path: Path) -> None:
        rates = Rates(tmp_path / "rates", {"a": app(moesif={"requests_per_second": 0.001, "burst_requests": 1})})
        assert rates.buckets["a", "moesif"].take().allowed
        rates.adopt({"a": app(moesif={"requests_per_second": 0.001, "burst_requests": 2})})
        assert [rates.buckets["a", "moesif"].take().allowed for _ in range(2)] == [True, False]
        rates.adopt({"a": app(moesif=None)})
        assert rates.buckets == {}

    def test_a_disk_that_fails_limits_nothing(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        (tmp_path / "rates").write_text("no folder")
        rates = Rates(tmp_path / "rates", {"a": app(moesif={"requests_per_second": 1})})
        assert rates.take("a", "moesif") is None
        assert "a rate limit does not limit" in caplog.text


SLOW = {"requests_per_second": 0.001, "burst_requests": 40}  # far slower than any machine runs this test
ONE = {"requests_per_second": 0.001, "burst_requests": 1}
QUICK = {"requests_per_second": 20, "burst_requests": 1}


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose applications have limits."""
    folder = tmp_path_factory.mktemp("limited")
    write_apps(folder, ["default", "slow", "one", "quick", "tight"])
    document: Any = tomlkit.parse((folder / config.FILE_NAME).read_text())
    tight = {"requests_per_second": 0.5, "burst_requests": 1}
    limits: dict[str, Any] = {"slow": SLOW, "one": ONE, "quick": QUICK, "tight": tight}
    for name, given in limits.items():
        for source in ("moesif", "batch", "moloco"):
            document["apps"][name][source]["rate_limit"] = given
    (folder / config.FILE_NAME).write_text(tomlkit.dumps(document))
    server = Server(folder, "--workers", "2")
    yield server
    assert server.stop() == 0


def call(server: Server, app_name: str, source: str) -> tuple[str, dict[str, str], Any]:
    """Address, headers and body of a call that is accepted."""
    keys = server.keys[app_name]
    if source == "moesif":
        return "/v1/actions", {"X-Moesif-Application-Id": keys["moesif"]["application_id"]}, ACTION
    if source == "batch":
        path = f"/1.0/{keys['batch']['live']}/events/users/u"
        return path, {"X-Authorization": keys["batch"]["rest_api_key"]}, BATCH
    path = f"/rmp/event/v1/platforms/{keys['moloco']['platform']}/userevents"
    return path, {"x-api-key": keys["moloco"]["api_key"]}, MOLOCO


def send(server: Server, app_name: str, source: str) -> httpx.Response:
    """A call over a connection of its own, which may reach any worker."""
    path, headers, body = call(server, app_name, source)
    with httpx.Client(trust_env=False, timeout=30) as client:
        return client.post(server.ingest + path, json=body, headers=headers)


def refused_after(answers: list[httpx.Response], server: Server) -> bool:
    """Whether one more call of `tight` is refused; a machine that stood still meanwhile is no reason."""
    answers.append(send(server, "tight", "moesif"))
    return answers[-1].status_code == 429


class TestOverTheWire:
    def test_two_workers_take_the_burst_and_not_one_more(self, limited: Server) -> None:
        answers = [send(limited, "slow", "moesif") for _ in range(60)]
        assert [answer.status_code for answer in answers] == [201] * 40 + [429] * 20
        assert [int(answer.headers["ratelimit"].split("=")[1].split(";")[0]) for answer in answers] == [
            *range(39, -1, -1), *[0] * 20,
        ]  # fmt: skip
        rows = limited.rows_when(40, "SELECT 1 FROM events WHERE app = 'slow' AND source = 'moesif'")
        assert len(rows) == 40
        query = "SELECT * FROM rejections WHERE app = 'slow' AND source = 'moesif'"
        kept = limited.rows_when(20, query)[0]
        assert (kept["status"], kept["payload"], kept["reason"]) == (429, "", TOO_MANY)

    def test_who_waits_as_told_is_taken(self, limited: Server) -> None:
        answers = [send(limited, "tight", "moesif")]
        assert answers[0].status_code == 201
        until(lambda: refused_after(answers, limited), within_s=60)  # the second, unless it came late
        wait_s = int(answers[-1].headers["retry-after"])
        assert 1 <= wait_s <= 2
        deadline = time.monotonic() + wait_s
        until(lambda: time.monotonic() > deadline, within_s=60)
        assert send(limited, "tight", "moesif").status_code == 201

    def test_no_more_than_the_rate_comes_through_however_many_try(self, limited: Server) -> None:
        path, headers, body = call(limited, "quick", "moloco")
        taken: list[int] = []
        began = time.monotonic()
        done = threading.Event()

        def press() -> None:
            with httpx.Client(trust_env=False, timeout=30) as client:
                while not done.is_set():
                    # A body that was not read ends its connection, now and then just as the next request is sent.
                    with contextlib.suppress(httpx.RemoteProtocolError, httpx.WriteError, httpx.ReadError):
                        taken.append(client.post(limited.ingest + path, json=body, headers=headers).status_code)

        threads = [threading.Thread(target=press) for _ in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: taken.count(200) >= 30, within_s=120)
        done.set()
        for thread in threads:
            thread.join()
        elapsed_s = time.monotonic() - began
        assert taken.count(200) <= QUICK["burst_requests"] + math.ceil(QUICK["requests_per_second"] * elapsed_s)
        assert 429 in taken

    @pytest.mark.parametrize(
        ("source", "status", "retry_after", "body"),
        [
            ("moesif", 201, range(900, 1001), {"moesif_error": {"code": "too_many_requests", "msg": TOO_MANY}}),
            ("batch", 201, range(5, 6), {"code": 60, "type": "TOO_MANY_REQUESTS", "message": TOO_MANY}),
            ("moloco", 200, range(900, 1001), {"code": 8, "message": TOO_MANY, "details": []}),
        ],
    )
    def test_each_vendor_has_its_form(
        self, limited: Server, source: str, status: int, retry_after: range, body: Any
    ) -> None:
        accepted = send(limited, "one", source)
        assert accepted.status_code == status
        assert accepted.headers["ratelimit-policy"] == '"default";q=1;w=1000'
        assert accepted.headers["ratelimit"] == '"default";r=0;t=1000'
        refused = send(limited, "one", source)
        assert refused.status_code == 429
        assert refused.json() == body
        assert int(refused.headers["retry-after"]) in retry_after
        assert refused.headers["ratelimit-policy"] == '"default";q=1;w=1000'
        assert refused.headers["ratelimit"].startswith('"default";r=0;t=')

    def test_a_page_of_a_browser_may_read_the_fields(self, limited: Server) -> None:
        answer = send(limited, "slow", "moesif")
        exposed = {name.strip() for name in answer.headers["access-control-expose-headers"].split(",")}
        assert {"ratelimit", "ratelimit-policy"} <= exposed
        assert answer.status_code == 201 or "retry-after" in exposed

    def test_what_a_host_reads_is_not_limited(self, limited: Server) -> None:
        headers = {"X-Moesif-Application-Id": limited.keys["tight"]["moesif"]["application_id"]}
        for _ in range(5):
            answer = limited.http.get(limited.ingest + "/v1/config", headers=headers)
            assert answer.status_code == 200
            assert "ratelimit" not in answer.headers

    def test_without_a_limit_nothing_is_told(self, limited: Server) -> None:
        answer = send(limited, "default", "moesif")
        assert answer.status_code == 201
        assert "ratelimit" not in answer.headers
        assert "ratelimit-policy" not in answer.headers
