"""The edge's application without a server: what it asks a dialect and a log, and in which order."""

import asyncio
import json
import re
from asyncio import Future
from pathlib import Path
from typing import Any

import pytest

from catchment import config
from catchment.dialects.dialect import NOBODY, Answer, Arrival, Call, Caller, Decoded, Faults, Route
from catchment.edge.app import EdgeApp
from catchment.edge.lookups import Lookups
from catchment.edge.reload import SettingsWatch
from catchment.errors import Fault, LogUnavailable, Refused
from catchment.record import Agent, EventRecord
from catchment.settings import Settings
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

    def refuse(self, refused: Refused) -> Answer:
        return Answer(refused.fault.status, [], refused.reason.encode())


class Log:
    """A log that is durable when the test says so."""

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


class Exchange:
    """One request: the server's side of it, and the answer."""

    def __init__(
        self, method: str, path: str, body: bytes = b"", *, query: str = "", headers: dict[str, str] | None = None
    ) -> None:
        self.method, self.path, self.query_string = method, path, query
        self.headers = dict(headers or {})
        self.client = "192.0.2.7:1"
        self.reads = 0
        self.answer: tuple[int, bytes] | None = None
        self._body = body

    async def __call__(self) -> bytes:
        self.reads += 1
        return self._body

    async def __aiter__(self) -> Any:
        self.reads += 1
        yield self._body

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.answer = (status, body)


class Edge:
    """An `EdgeApp` with that vendor and that log."""

    def __init__(self, folder: Path) -> None:
        write_apps(folder, ["default"])
        self.settings = config.load(folder)
        self.log = Log()
        watch = SettingsWatch(folder / config.FILE_NAME, lambda: config.load(folder), self.settings, speaks=True)
        lookups = Lookups(lambda text: Agent(name=text), None)
        self.app = EdgeApp(watch, lambda settings: [Vendor(settings)], lookups, lambda _loop: self.log)
        self.app._log = self.log  # without the watch's task, which is no part of this

    def begin(self, exchange: Exchange) -> "asyncio.Task[None]":
        scope: Any = exchange
        protocol: Any = exchange
        return asyncio.ensure_future(self.app.__rsgi__(scope, protocol))

    async def send(self, exchange: Exchange, error: Exception | None = None) -> tuple[int, bytes] | None:
        """The answer, after the log took or refused what was appended."""
        task, seen = self.begin(exchange), len(self.log.appends)
        await asyncio.sleep(0)
        for _, future in self.log.appends[seen:]:
            if error:
                future.set_exception(error)
            else:
                future.set_result(None)
        await task
        return exchange.answer


@pytest.fixture
def edge(tmp_path: Path) -> Edge:
    return Edge(tmp_path)


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
    [watching] = asyncio.all_tasks(loop)
    edge.app.__rsgi_del__(loop)
    loop.run_until_complete(asyncio.sleep(0))
    assert watching.cancelled()
    loop.close()
