"""The edge's application without a server: what it asks a dialect and a log, and in which order."""

import asyncio
import json
import re
from asyncio import Future
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from catchment import config, maintenance
from catchment.dialects.dialect import NOBODY, Answer, Arrival, Call, Caller, Decoded, Faults, Route
from catchment.edge import answers
from catchment.edge.answers import Answers
from catchment.edge.app import EdgeApp
from catchment.edge.arrivals import Arrivals
from catchment.edge.journal import Journal
from catchment.edge.lookups import Lookups
from catchment.edge.observer import Observer
from catchment.edge.rates import Bucket, Rates
from catchment.edge.reload import SettingsWatch
from catchment.errors import Fault, LogUnavailable, Refused
from catchment.log.disk import LocalDisk
from catchment.log.room import DISK_FULL, LOG_FULL, RoomWatch
from catchment.maintenance import MaintenanceWatch
from catchment.record import Agent, EventRecord
from catchment.settings import RateLimit, Settings
from tests.conftest import write_apps

KEY = {"key": "good"}


class Vendor:
    """A dialect of two endpoints: `POST /post` wants a key, `GET /open` does not."""

    source = "vendor"
    owns = re.compile("")
    key_header = "key"
    faults = Faults(*(Fault(status, name, name) for status, name in zip(
        (404, 405, 413, 400, 503, 500, 429), Faults._fields, strict=False)))  # fmt: skip
    preflight: Answer | None = None
    routes: tuple[Route, ...] = (
        Route("POST", "post", re.compile("^/post$"), 1000, ("/post",)),
        Route("GET", "open", re.compile("^/open$"), 1000, ("/open",), open=True),
    )

    def __init__(self, settings: Settings) -> None:
        self._name = str(settings.limits.batch_events_max)

    def authenticate(self, call: Call) -> Caller:
        if call.headers.get("key") != "good":
            raise Refused(Fault(401, "key", "key"), "no key")
        return Caller("shop")

    def decode(self, endpoint: str, call: Call, caller: Caller, body: bytes, arrival: Arrival) -> Decoded:
        if call.query == "refuse":
            raise Refused(self.faults.malformed, "as asked for")
        if endpoint == "open":
            assert caller is NOBODY
            if call.query != "event":
                return Decoded([], Answer(200, [], self._name.encode()))
            body = b"1"
        records = [
            EventRecord(
                app=caller.app,
                source=self.source,
                kind="event",
                event_id=arrival.new_id(),
                received_us=arrival.received_us + number,
                payload="",
                name=self._name,
                time=arrival.received_at,
                user_agent=call.headers.get("user-agent"),
                ip=call.peer,
            )
            for number in range(int(body))
        ]
        return Decoded(list(records), Answer(201, [], self._name.encode()))

    def conceal(self, body: bytes) -> bytes:
        return body

    def conceal_path(self, path: str) -> str:
        return path

    def refuse(self, refused: Refused) -> Answer:
        return Answer(refused.fault.status, [], refused.reason.encode())


class Log:
    """A log that is durable when the test says so."""

    failing = False
    number = 0

    def __init__(self) -> None:
        self.appends: list[tuple[bytes, Future[None]]] = []

    def append(self, lines: bytes) -> "Future[None]":
        future: Future[None] = asyncio.get_running_loop().create_future()
        self.appends.append((lines, future))
        return future

    async def close(self) -> None:
        return

    def lines(self, number: int = -1) -> list[Any]:
        return [json.loads(line) for line in self.appends[number][0].splitlines()]


class Fields(dict[str, str]):
    """Header fields as the server gives them; a field may have several `lines`."""

    lines: list[str] | None = None

    def get_all(self, key: str) -> list[str]:
        return self.lines or [self[key]] * (key in self)


class Exchange:
    """One request: the server's side of it, and the answer."""

    def __init__(
        self, method: str, path: str, body: bytes = b"", *, query: str = "", headers: dict[str, str] | None = None
    ) -> None:
        self.method, self.path, self.query_string = method, path, query
        self.headers = Fields(headers or {})
        self.client, self.scheme = "192.0.2.7:1", "http"
        self.reads = 0
        self.answer: tuple[int, bytes] | None = None
        self.answer_headers: list[tuple[str, str]] = []
        self._body = body

    async def __call__(self) -> bytes:
        self.reads += 1
        return self._body

    async def __aiter__(self) -> Any:
        self.reads += 1
        yield self._body

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.answer, self.answer_headers = (status, body), headers


class Edge:
    """An `EdgeApp` with that vendor and that log."""

    def __init__(self, folder: Path) -> None:
        write_apps(folder, ["default"])
        self.settings = config.load(folder)
        self.log = Log()
        load = partial(config.load, folder)
        watch = SettingsWatch(folder / config.FILE_NAME, load, self.settings, sound=load, speaks=lambda: True)
        lookups = Lookups(lambda text: Agent(name=text), None)
        self.maintenance = MaintenanceWatch(folder)
        self.rates = Rates(folder / "rates", self.settings.apps)
        self.answers = Answers(folder / answers.FILE_NAME, self.settings.limits)
        self.room = RoomWatch(LocalDisk(), folder, self.settings.log)
        self.observer = Observer()
        self.app = EdgeApp(
            watch,
            lambda settings: [Vendor(settings)],
            lookups,
            lambda _loop: self.log,
            maintenance=self.maintenance,
            rates=self.rates,
            answers=self.answers,
            room=self.room,
            observer=self.observer,
        )
        # without the watch's task, which is no part of this
        self.app._journal = Journal(self.log, self.settings.log.unsynced_bytes_max)
        self.app._arrivals = Arrivals(self.log.number)

    def begin(self, exchange: Exchange) -> "asyncio.Task[None]":
        scope: Any = exchange
        protocol: Any = exchange
        return asyncio.ensure_future(self.app.__rsgi__(scope, protocol))

    async def send(self, exchange: Exchange, error: Exception | None = None) -> tuple[int, bytes] | None:
        """The answer, after the log took or refused what was appended."""
        task, seen = self.begin(exchange), len(self.log.appends)
        await asyncio.sleep(0)
        return await self._settle(task, exchange, seen, error)

    async def send_keyed(self, exchange: Exchange, error: Exception | None = None) -> tuple[int, bytes] | None:
        """The same for a call with an Idempotency-Key, which the log hears of later, if at all."""
        task, seen = self.begin(exchange), len(self.log.appends)
        while len(self.log.appends) == seen and not (await asyncio.wait({task}, timeout=0.001))[0]:
            pass
        return await self._settle(task, exchange, seen, error)

    async def _settle(
        self, task: "asyncio.Task[None]", exchange: Exchange, seen: int, error: Exception | None
    ) -> tuple[int, bytes] | None:
        for _, future in self.log.appends[seen:]:
            if error:
                future.set_exception(error)
            else:
                future.set_result(None)
        await task
        return exchange.answer


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    made = Edge(tmp_path)
    yield made
    made.answers.close()


def post(count: int, agent: str = "UA") -> Exchange:
    return Exchange("POST", "/post", b"%d" % count, headers=KEY | {"user-agent": agent})


class TestOpenRoute:
    async def test_is_answered_without_a_key_a_body_or_a_log(self, edge: Edge) -> None:
        for headers in (None, {"key": "bad"}, KEY):
            exchange = Exchange("GET", "/open", headers=headers)
            assert await edge.send(exchange) == (200, b"1000")
            assert exchange.reads == 0
        assert edge.log.appends == []

    async def test_a_refusal_of_it_is_kept_without_an_application(self, edge: Edge) -> None:
        assert await edge.send(Exchange("GET", "/open", query="refuse", headers=KEY)) == (400, b"as asked for")
        [kept] = edge.log.lines()
        assert (kept["kind"], kept["app"], kept["payload"]) == ("rejection", "", "")

    async def test_its_events_are_taken_up_to_a_bound_that_can_be_changed(self, edge: Edge) -> None:
        limits = edge.settings.limits.model_copy(update={"keyless_events_per_minute_max": 2})
        edge.app.adopt(edge.settings.model_copy(update={"limits": limits}))
        answers = [await edge.send(Exchange("GET", "/open", query="event")) for _ in range(3)]
        assert answers == [(201, b"1000"), (201, b"1000"), (429, b"too many requests")]
        assert [edge.log.lines(number)[0]["kind"] for number in range(3)] == ["event", "event", "rejection"]
        assert await edge.send(Exchange("GET", "/open")) == (200, b"1000")
        assert await edge.send(post(1)) == (201, b"1000")

    async def test_the_others_want_their_key(self, edge: Edge) -> None:
        assert await edge.send(Exchange("POST", "/post", b"1")) == (401, b"no key")
        [kept] = edge.log.lines()
        assert (kept["kind"], kept["app"]) == ("rejection", "")


class TestAppend:
    async def test_what_strings_mean_goes_into_the_records(self, edge: Edge) -> None:
        assert await edge.send(post(2)) == (201, b"1000")
        assert [line["agent"] for line in edge.log.lines()] == [{"name": "UA"}] * 2

    async def test_one_that_fails_changes_nothing_for_the_next(self, edge: Edge) -> None:
        assert await edge.send(post(1), LogUnavailable("disk full")) == (503, b"the event store is busy; try again")
        assert await edge.send(post(1)) == (201, b"1000")
        assert [line["agent"] for line in edge.log.lines()] == [{"name": "UA"}]

    async def test_arrival_numbers_never_repeat(self, edge: Edge) -> None:
        for count in (3, 1, 2):
            await edge.send(post(count))
        numbers = [line["received_us"] for number in range(3) for line in edge.log.lines(number)]
        assert numbers == sorted(set(numbers))


class TestIdempotencyKey:
    async def test_an_answer_is_remembered_only_once_its_records_are_durable(self, edge: Edge) -> None:
        call = post(2)
        call.headers["idempotency-key"] = "k"
        assert await edge.send_keyed(call, LogUnavailable("disk full")) == (503, b"the event store is busy; try again")
        assert await edge.send_keyed(call) == (201, b"1000")
        first, second = edge.log.lines(0), edge.log.lines(1)
        assert [line["event_id"] for line in first] == [line["event_id"] for line in second]
        assert [line["undated"] for line in first + second] == [True] * 4

    async def test_a_call_that_was_answered_is_not_decoded_again(self, edge: Edge) -> None:
        call = post(2)
        call.headers["idempotency-key"] = "k"
        assert await edge.send_keyed(call) == (201, b"1000")
        limits = edge.settings.limits.model_copy(update={"batch_events_max": 7})
        edge.app.adopt(edge.settings.model_copy(update={"limits": limits}))
        assert await edge.send_keyed(call) == (201, b"1000")
        assert len(edge.log.appends) == 1
        assert await edge.send(post(2)) == (201, b"7")

    async def test_without_a_caller_the_header_means_nothing(self, edge: Edge) -> None:
        for _ in range(2):
            exchange = Exchange("GET", "/open", query="event", headers={"idempotency-key": "k"})
            assert await edge.send(exchange) == (201, b"1000")
        assert len(edge.log.appends) == 2


class TestRefusedBeforeItsBodyIsRead:
    async def test_over_the_limit_and_kept(self, edge: Edge, tmp_path: Path) -> None:
        limit = RateLimit(requests_per_second=0.001, burst_requests=1)
        edge.rates.buckets["shop", "vendor"] = Bucket(tmp_path / "bucket", limit)
        assert await edge.send(post(1)) == (201, b"1000")
        over = post(1)
        assert await edge.send(over) == (429, b"too many requests")
        assert over.reads == 0
        [kept] = edge.log.lines()
        assert (kept["kind"], kept["app"], kept["status"], kept["payload"]) == ("rejection", "shop", 429, "")
        assert await edge.send(Exchange("GET", "/open")) == (200, b"1000")

    async def test_in_maintenance_and_not_kept(self, edge: Edge, tmp_path: Path) -> None:
        maintenance.begin(tmp_path, "")
        edge.maintenance.look()
        refused = post(1)
        assert await edge.send(refused) == (503, b"the server is in maintenance; try again later")
        assert refused.reads == 0
        assert await edge.send(Exchange("GET", "/open", query="event")) == refused.answer
        assert await edge.send(Exchange("GET", "/open", query="refuse")) == (400, b"as asked for")
        assert await edge.send(Exchange("GET", "/open")) == (200, b"1000")
        assert edge.log.appends == []


class TestShortOfRoom:
    @pytest.mark.parametrize("short", [DISK_FULL, LOG_FULL])
    async def test_nothing_is_taken_or_kept_and_what_only_reads_is_answered(self, edge: Edge, short: str) -> None:
        edge.room.short = short
        refused = post(1)
        assert await edge.send(refused) == (503, b"the server has no room for events now; try again later")
        assert refused.reads == 0
        assert await edge.send(Exchange("GET", "/open", query="event")) == refused.answer
        assert await edge.send(Exchange("GET", "/open", query="refuse")) == (400, b"as asked for")
        assert await edge.send(Exchange("POST", "/nothing", b"1")) is not None
        assert await edge.send(Exchange("GET", "/open")) == (200, b"1000")
        assert edge.log.appends == []
        assert await edge.send(Exchange("GET", "/health/live")) == (200, b'{"status":"ok"}')
        assert await edge.send(Exchange("GET", "/health/ready")) == (503, b'{"status":"%b"}' % short.encode())
        edge.room.short = ""
        assert await edge.send(Exchange("GET", "/health/ready")) == (200, b'{"status":"ok"}')
        assert await edge.send(post(1)) == (201, b"1000")


class TestTooManyBytesForTheDisk:
    async def test_newcomers_are_refused_before_their_bodies_are_read(self, edge: Edge) -> None:
        slow = post(1)
        task = edge.begin(slow)
        await asyncio.sleep(0)
        edge.app._journal.waiting_bytes = edge.settings.log.unsynced_bytes_max
        refused = post(1)
        assert await edge.send(refused) == (503, b"too many bytes are waiting for the disk; try again")
        assert refused.reads == 0
        assert len(edge.log.appends) == 1
        edge.app._journal.waiting_bytes = len(edge.log.appends[0][0])
        edge.log.appends[0][1].set_result(None)
        await task
        assert slow.answer == (201, b"1000")
        assert edge.app._journal.waiting_bytes == 0

    async def test_a_body_that_was_read_waits_for_those_before_it(self, edge: Edge) -> None:
        journal = edge.app._journal
        first = edge.begin(post(1))
        await asyncio.sleep(0)
        waiting = asyncio.ensure_future(journal.room_for(edge.settings.log.unsynced_bytes_max))
        await asyncio.sleep(0)
        assert not waiting.done()
        edge.log.appends[0][1].set_result(None)
        await asyncio.wait({first, waiting}, timeout=60)
        assert waiting.done()
        await journal.room_for(edge.settings.log.unsynced_bytes_max)  # alone, there is always room

    async def test_every_place_is_given_back(self, edge: Edge) -> None:
        for exchange in (
            post(1),
            Exchange("POST", "/post", b"1"),
            Exchange("GET", "/open", query="event"),
            Exchange("POST", "/nothing", b"1"),
        ):
            await edge.send(exchange)
        await edge.send(post(1), LogUnavailable("disk full"))
        assert (edge.app._gate.requests, edge.app._gate.body_bytes) == (0, 0)


class TestAdopt:
    async def test_a_request_under_way_ends_as_it_began(self, edge: Edge) -> None:
        under_way = post(1)
        task = edge.begin(under_way)
        await asyncio.sleep(0)
        limits = edge.settings.limits.model_copy(update={"batch_events_max": 7, "unauthenticated_per_minute_max": 1})
        edge.app.adopt(edge.settings.model_copy(update={"limits": limits}))
        assert await edge.send(post(1)) == (201, b"7")
        edge.log.appends[0][1].set_result(None)
        await task
        assert under_way.answer == (201, b"1000")
        for _ in range(3):
            await edge.send(Exchange("POST", "/post", b"1"))
        assert len(edge.log.appends) == 3

    async def test_the_addresses_of_trusted_proxies_change_too(self, edge: Edge) -> None:
        exchange = post(1)
        exchange.headers["x-forwarded-for"] = "203.0.113.9"
        await edge.send(exchange)
        ingest = edge.settings.ingest.model_copy(update={"trusted_proxies": ["192.0.2.0/24"]})
        edge.app.adopt(edge.settings.model_copy(update={"ingest": ingest}))
        await edge.send(exchange)
        assert [edge.log.lines(number)[0]["ip"] for number in (0, 1)] == ["192.0.2.7", "203.0.113.9"]

    async def test_limits_of_requests_come_and_go(self, edge: Edge) -> None:
        app = edge.settings.apps["default"]
        assert app.moesif
        moesif = app.moesif.model_copy(update={"rate_limit": RateLimit(requests_per_second=1)})
        apps = {"default": app.model_copy(update={"moesif": moesif})}
        edge.app.adopt(edge.settings.model_copy(update={"apps": apps}))
        assert list(edge.rates.buckets) == [("default", "moesif")]
        edge.app.adopt(edge.settings)
        assert edge.rates.buckets == {}

    async def test_settings_that_make_no_dialect_leave_the_old_ones(self, edge: Edge) -> None:
        broken: Any = None
        with pytest.raises(AttributeError):
            edge.app.adopt(broken)
        assert await edge.send(Exchange("GET", "/open")) == (200, b"1000")


def test_the_watch_runs_with_the_application_and_ends_with_it(tmp_path: Path) -> None:
    edge = Edge(tmp_path)
    loop = asyncio.new_event_loop()
    edge.app.__rsgi_init__(loop)
    loop.run_until_complete(asyncio.sleep(0))
    tasks = asyncio.all_tasks(loop)
    assert len(tasks) == 3  # the watch, who looks for room, and who closes the books of each minute
    edge.app.__rsgi_del__(loop)
    loop.run_until_complete(asyncio.sleep(0))
    assert all(task.cancelled() for task in tasks)
    loop.close()
