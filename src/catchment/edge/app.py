"""The edge's RSGI application: the way of a request, top to bottom, from `EdgeApp._accept`.

Nothing here knows a vendor. A success is answered only after the log said that the records are durable; a refusal is
answered at once and kept as a rejection; a fault of ours is 5xx in the vendor's form, so that the sender tries again.
In maintenance, and where the disk or the log is nearly full (`log.room`), nothing is taken and nothing kept, but what
only reads is answered. Where just too much is under way at once, what is too much is refused first and fast (`gate`).
"""

import asyncio
import logging
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from time import perf_counter

from granian.rsgi import HTTPProtocol, ProtocolClosed, ProtocolError, Scope

from catchment.books import MINUTE_US
from catchment.dialects.dialect import NOBODY, Answer, Call, Caller, Dialect, Route
from catchment.edge.allowance import Allowance
from catchment.edge.answers import Answers
from catchment.edge.arrivals import Arrivals, new_id
from catchment.edge.body import Gone
from catchment.edge.gate import Busy, Gate
from catchment.edge.idempotency import KeyedCall, mark_undated
from catchment.edge.journal import AppendTooLarge, Journal
from catchment.edge.leaving import CLOSE, LEAVE, stop_accepting
from catchment.edge.lookups import Lookups
from catchment.edge.observer import GONE, Observer, Sight
from catchment.edge.peers import Peers
from catchment.edge.rates import Rates
from catchment.edge.rejections import METHOD_CHARS_MAX, Rejections
from catchment.edge.reload import SettingsWatch
from catchment.edge.request import LARGE_DRAIN_BYTES, Request
from catchment.edge.routing import Match, Router
from catchment.errors import LogUnavailable, Refused
from catchment.log.log import LogWriter
from catchment.log.room import DISK_FULL, LOG_FULL, RoomWatch
from catchment.maintenance import MaintenanceWatch
from catchment.settings import Settings

RETRY_AFTER = ("retry-after", "5")
MAINTENANCE_RETRY_AFTER = ("retry-after", "30")
ROOM_LOOK_S = 1.0
DRAINS_MAX = 256  # bodies of refused requests that are let in at a time,
LARGE_DRAINS_MAX = 16  # and large ones of them
WAITING_SHARE_MAX = 0.75  # of the bytes that may wait for fsync: beyond it a request would be read for nothing
JSON = [("content-type", "application/json")]
HEALTHY = Answer(200, JSON, b'{"status":"ok"}')
IN_MAINTENANCE = Answer(503, [*JSON, MAINTENANCE_RETRY_AFTER], b'{"status":"maintenance"}')
SHORT_OF_ROOM = {
    short: Answer(503, [*JSON, MAINTENANCE_RETRY_AFTER], b'{"status":"%b"}' % short.encode())
    for short in (DISK_FULL, LOG_FULL)
}
BROKE_OFF = "the body broke off, or its chunks are malformed, or it has trailers that no Trailer field announced"
DISK_FAILING = Answer(503, [*JSON, RETRY_AFTER], b'{"status":"disk_failing"}')
MINUTE_CLOSES_S, BOOKS_STAY_OPEN_S = 60.0, 2.0
LIVE_PATH, READY_PATH = "/health/live", "/health/ready"
_TOLD_CHARS_MAX = 200
HEALTH_ENDPOINT, PREFLIGHT_ENDPOINT = "health", "preflight"
HEALTH_PATHS = frozenset({LIVE_PATH, READY_PATH})

logger = logging.getLogger(__name__)


class EdgeApp:
    """One edge process. `open_log` is called with the process's event loop, before the first request; `dialects`
    makes them from settings, the ones that `watch` started with or later ones."""

    def __init__(
        self,
        watch: SettingsWatch,
        dialects: Callable[[Settings], Sequence[Dialect]],
        lookups: Lookups,
        open_log: Callable[[AbstractEventLoop], LogWriter],
        *,
        maintenance: MaintenanceWatch,
        rates: Rates,
        answers: Answers,
        room: RoomWatch,
        observer: Observer,
    ) -> None:
        settings = watch.settings
        self._watch = watch
        self._dialects = dialects
        self._lookups = lookups
        self._open_log = open_log
        self._maintenance = maintenance
        self._rates = rates
        self._answers = answers
        self._room = room
        self._observer = observer
        self._gate = Gate(settings.ingest)
        self._router = Router(dialects(settings))
        self._peers = Peers(settings.ingest.trusted_proxies)
        self._rejections = Rejections(settings.limits)
        self._keyless = Allowance(settings.limits.keyless_events_per_minute_max, "calls without a key were not taken")
        self._append_bytes_max = settings.log.unsynced_bytes_max
        self._waiting_bytes_max = int(self._append_bytes_max * WAITING_SHARE_MAX)
        self._journal: Journal
        self._arrivals: Arrivals
        self._watching: asyncio.Task[None]
        self._looking: asyncio.Task[None]
        self._bookkeeping: asyncio.Task[None]
        self._drains = self._large_drains = 0
        self._leaving = False

    def __rsgi_init__(self, loop: AbstractEventLoop) -> None:
        log = self._open_log(loop)
        self._journal, self._arrivals = Journal(log, self._append_bytes_max), Arrivals(log.number)
        self._room.look()
        self._watching = loop.create_task(self._watch.run(self.adopt, self._look))
        self._looking = loop.create_task(self._look_for_room())
        self._bookkeeping = loop.create_task(self._keep_books())
        loop.add_signal_handler(LEAVE, self.leave)

    def leave(self) -> None:
        """Makes room for the process that takes this one's place."""
        self._leaving = True
        stop_accepting()

    def __rsgi_del__(self, loop: AbstractEventLoop) -> None:
        self._watching.cancel()
        self._looking.cancel()
        self._bookkeeping.cancel()
        self._close_books(self._arrivals.next().received_us + MINUTE_US)
        self._observer.close()
        loop.run_until_complete(self._journal.close())
        self._answers.close()

    def adopt(self, settings: Settings) -> None:
        """Uses these settings for the requests to come; those under way keep the dialect that they began with."""
        router, peers = Router(self._dialects(settings)), Peers(settings.ingest.trusted_proxies)
        self._router, self._peers = router, peers
        self._rejections.adopt(settings.limits)
        self._keyless.per_minute_max = settings.limits.keyless_events_per_minute_max
        self._rates.adopt(settings.apps)
        self._answers.adopt(settings.limits)

    def _look(self) -> None:
        self._gate.look()
        if self._maintenance.look():
            logger.warning("edge: maintenance is %s", "on: nothing is accepted" if self._maintenance.on else "off")

    async def _look_for_room(self) -> None:
        while True:
            await asyncio.sleep(ROOM_LOOK_S)
            try:
                await asyncio.to_thread(self._room.look)  # a disk that hangs holds up nobody
            except Exception:
                logger.exception("edge: defect while looking for room; what was found before stays")

    async def __rsgi__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        sight, status = self._observer.begin(scope), GONE
        try:
            answer = await self._answer(scope, protocol, sight)
            headers = self._observer.headers(sight, answer)
            if self._leaving and scope.http_version != "2":
                headers.append(CLOSE)
            protocol.response_bytes(answer.status, headers, answer.body)
            status = answer.status
        except (ProtocolError, ProtocolClosed, Gone, asyncio.CancelledError):
            return  # the client has gone; what it sent whole is in the log
        finally:
            self._observer.end(sight, status)

    async def _answer(self, scope: Scope, protocol: HTTPProtocol, sight: Sight) -> Answer:
        if scope.path in HEALTH_PATHS and scope.method == "GET":
            sight.endpoint = HEALTH_ENDPOINT
            return self._ready() if scope.path == READY_PATH else HEALTHY
        headers = sight.headers
        match = self._router.resolve(scope.method, scope.path, headers)
        dialect = match.dialect
        self._observer.matched(sight, match)
        call = Call(
            scope.method,
            scope.path,
            scope.query_string,
            headers,
            self._peers.address(scope.client, headers),
            match.parameters,
        )
        if call.method == "OPTIONS" and dialect.preflight:
            sight.endpoint = PREFLIGHT_ENDPOINT
            return dialect.preflight
        request = Request(dialect, call, sight)
        try:
            answer = await self._answer_call(request, match, protocol)
        finally:
            self._leave(request)
        return request.told(answer)

    def _ready(self) -> Answer:
        if self._maintenance.on:
            return IN_MAINTENANCE
        if self._room.short:
            return SHORT_OF_ROOM[self._room.short]
        return DISK_FAILING if self._journal.failing else HEALTHY

    async def _answer_call(self, request: Request, match: Match, protocol: HTTPProtocol) -> Answer:
        dialect, call = request.dialect, request.call
        try:
            if match.route is None:
                assert match.fault is not None
                request.identify()
                path = self._router.told(call.path)[:_TOLD_CHARS_MAX]
                raise Refused(match.fault, f"{call.method[:METHOD_CHARS_MAX]} {path} is not served here")
            return await self._accept(request, match.route, protocol)
        except Refused as refused:
            self._observer.refused(request.sight, refused, dialect)
            if not match.stray:  # a browser that asks for its icon is no sender that went wrong
                self._keep(request, refused)
            await self._drain(request, protocol)
            return dialect.refuse(refused)
        except Busy as busy:
            self._observer.busy(request.sight, busy)
            reason = f"{busy}; try again"
        except LogUnavailable as error:
            self._observer.log_unavailable(request.sight, error)
            return _unavailable(request, "the event store is busy; try again")
        except (ProtocolError, ProtocolClosed, Gone):
            protocol.response_bytes(*dialect.refuse(Refused(dialect.faults.malformed, BROKE_OFF)))  # is anybody there?
            raise
        except Exception as error:
            self._observer.defect(request.sight, error)
            return dialect.refuse(Refused(dialect.faults.defect, "internal error; the request was not stored"))
        # Out here, for within `except` the traceback would keep what has come of the body through the pause.
        self._leave(request)
        if pause_s := self._gate.pause_s(request.declared_bytes):
            await asyncio.sleep(pause_s)
        return _unavailable(request, reason)

    async def _accept(self, request: Request, route: Route, protocol: HTTPProtocol) -> Answer:
        """Admit, read, recall, decode, look up, make durable, remember, answer; each step may refuse."""
        caller = self._admit(request, route)
        keyed: KeyedCall | None = None
        if request.place:
            await request.read(route, protocol, request.place)
            keyed = None if route.open else request.keyed(caller, route)  # without a caller it would be nobody's key
            if keyed and (remembered := await self._recall(keyed, request.dialect)):
                return remembered
        answer = await self._take(request, route, caller, keyed)
        if keyed:
            await self._answers.remember(keyed, answer)
        return answer

    def _admit(self, request: Request, route: Route) -> Caller:
        """Who calls, if anybody may now: known before the body is read."""
        writes = route.method != "GET"
        if writes:
            self._require_open(request)
            self._enter(request)
        if route.open:
            return NOBODY  # and the request has no caller: a refusal of it is kept like any without a key
        caller = request.caller = request.dialect.authenticate(request.call)
        if writes and self._rates.buckets:
            self._count(request, caller)
        return caller

    async def _take(self, request: Request, route: Route, caller: Caller, keyed: KeyedCall | None) -> Answer:
        """The records of the call, durable, and what the dialect answers to them."""
        dialect = request.dialect
        await self._journal.room_for(len(request.body))
        arrival = self._arrivals.next()
        if keyed:
            arrival = arrival._replace(new_id=keyed.new_id)
        records, answer = dialect.decode(route.endpoint, request.call, caller, request.body, arrival)
        if not records:
            return answer
        self._require_open(request)  # again: much may have changed since, if its body took long
        if request.place is None:  # of a GET, only its records tell that it writes
            self._enter(request)
        if keyed:
            mark_undated(records, arrival.received_at)
        if route.open and not self._keyless.take():  # or anybody at all could fill the disk
            raise Refused(dialect.faults.too_many, "too many requests")
        self._arrivals.taken(arrival, len(records))
        self._lookups.fill(records)
        appended = perf_counter()
        try:
            durable = self._journal.append(records)
        except AppendTooLarge:
            reason = f"its records take more than {self._append_bytes_max} bytes"
            raise Refused(dialect.faults.too_large, reason) from None
        of, events, body_bytes = (records[0].app, records[0].source), len(records), len(request.body)
        del records  # what waits for the disk are the lines alone
        request.release_body()
        await durable
        self._observer.accepted(request.sight, of, events=events, body_bytes=body_bytes, waited_since=appended)
        return answer

    def _require_open(self, request: Request) -> None:
        """That something may be written at all."""
        if self._maintenance.on:
            request.fields = [MAINTENANCE_RETRY_AFTER]
            raise Refused(request.dialect.faults.maintenance, "the server is in maintenance; try again later")
        if self._room.short:
            request.fields = [MAINTENANCE_RETRY_AFTER]
            raise Refused(request.dialect.faults.unavailable, "the server has no room for events now; try again later")

    def _enter(self, request: Request) -> None:
        """Takes a place for the request. Raises `Busy`."""
        if self._journal.waiting_bytes > self._waiting_bytes_max:
            raise Busy("too many bytes are waiting for the disk")
        request.place = self._gate.enter()

    def _leave(self, request: Request) -> None:
        """Gives back the place of the request, if it has one, and what it holds of its body."""
        request.body = b""
        if request.place:
            self._gate.leave(request.place)
            request.place = None

    async def _drain(self, request: Request, protocol: HTTPProtocol) -> None:
        """Lets the body of a refused request come; it is no longer under way, and takes no room from those that are."""
        self._leave(request)
        size = request.undrained_bytes
        large = size > LARGE_DRAIN_BYTES
        if not size or self._drains >= DRAINS_MAX or (large and self._large_drains >= LARGE_DRAINS_MAX):
            return
        self._drains += 1
        self._large_drains += large
        try:
            await request.drain(protocol)
        finally:
            self._drains -= 1
            self._large_drains -= large

    def _count(self, request: Request, caller: Caller) -> None:
        """Takes the request from the application's limit, if it has one."""
        counted = self._rates.take(caller.app, request.dialect.source)
        if counted is None:
            return
        taken, request.fields = counted
        if not taken.allowed:
            request.fields.append(("retry-after", str(taken.wait_s)))
            raise Refused(request.dialect.faults.too_many, "too many requests")

    async def _recall(self, keyed: KeyedCall, dialect: Dialect) -> Answer | None:
        """What this very call was answered before; refuses another one under the same key."""
        remembered = await self._answers.recall(keyed)
        if remembered is None:
            return None
        if remembered.asked != keyed.asked:
            raise Refused(dialect.faults.key_reused, "this Idempotency-Key was used for another request before")
        return remembered.answer

    def _keep(self, request: Request, refused: Refused) -> None:
        """Notes the rejection without waiting for it: nothing was promised about it."""
        if self._maintenance.on or self._room.short:
            return  # whoever needs the disk to be left alone gets that
        call = request.call._replace(path=self._router.told(request.call.path))
        record = self._rejections.record(
            request.dialect, call, request.caller, refused, request.body, self._arrivals.next()
        )
        if record is not None:
            self._observer.kept(request.sight, record)
            self._journal.note(record)

    async def _keep_books(self) -> None:
        """Closes the books of each minute once it is over and nothing of it is under way any more."""
        while True:
            await asyncio.sleep(MINUTE_CLOSES_S - time.time() % MINUTE_CLOSES_S + BOOKS_STAY_OPEN_S)
            try:
                self._close_books(self._arrivals.next().received_us)
            except Exception:
                logger.exception(
                    "edge: defect while closing the books of a minute; the next attempt follows in a minute"
                )

    def _close_books(self, until_us: int) -> None:
        self._journal.close_minutes(until_us, list(self._rejections.overflow(until_us, new_id)))


def _unavailable(request: Request, reason: str) -> Answer:
    """In the vendor's form; nothing is wrong with the request."""
    request.fields = [*request.fields, RETRY_AFTER]
    return request.dialect.refuse(Refused(request.dialect.faults.unavailable, reason))
