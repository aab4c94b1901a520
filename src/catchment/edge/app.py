"""The edge's RSGI application: the way of a request, top to bottom, from `EdgeApp._accept`.

Nothing here knows a vendor. A success is answered only after the log said that the records are durable; a refusal is
answered at once and kept as a rejection; a fault of ours is 5xx in the vendor's form, so that the sender tries again.
In maintenance nothing is taken and nothing kept, but what only reads is answered.
"""

import asyncio
import logging
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from granian.rsgi import HTTPProtocol, ProtocolClosed, ProtocolError, Scope
from uuid_utils import uuid7

from catchment.books import MINUTE_US
from catchment.dialects.dialect import NOBODY, Answer, Arrival, Call, Caller, Dialect, Route
from catchment.edge.allowance import Allowance
from catchment.edge.answers import Answers
from catchment.edge.idempotency import KeyedCall, mark_undated
from catchment.edge.journal import AppendTooLarge, Journal
from catchment.edge.leaving import CLOSE, LEAVE, stop_accepting
from catchment.edge.lookups import Lookups
from catchment.edge.peers import Peers
from catchment.edge.rates import Rates
from catchment.edge.rejections import METHOD_CHARS_MAX, Rejections
from catchment.edge.reload import SettingsWatch
from catchment.edge.request import Request
from catchment.edge.routing import Match, Router
from catchment.errors import LogUnavailable, Refused
from catchment.log.log import LogWriter
from catchment.maintenance import MaintenanceWatch
from catchment.settings import Settings

RETRY_AFTER = ("retry-after", "5")
MAINTENANCE_RETRY_AFTER = ("retry-after", "30")
JSON = [("content-type", "application/json")]
HEALTHY = Answer(200, JSON, b'{"status":"ok"}')
IN_MAINTENANCE = Answer(503, [*JSON, MAINTENANCE_RETRY_AFTER], b'{"status":"maintenance"}')
MINUTE_CLOSES_S, BOOKS_STAY_OPEN_S = 60.0, 2.0
LIVE_PATH, READY_PATH = "/health/live", "/health/ready"
_TOLD_CHARS_MAX = 200
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
    ) -> None:
        settings = watch.settings
        self._watch = watch
        self._dialects = dialects
        self._lookups = lookups
        self._open_log = open_log
        self._maintenance = maintenance
        self._rates = rates
        self._answers = answers
        self._router = Router(dialects(settings))
        self._peers = Peers(settings.ingest.trusted_proxies)
        self._rejections = Rejections(settings.limits)
        self._keyless = Allowance(settings.limits.keyless_events_per_minute_max, "calls without a key were not taken")
        self._append_bytes_max = settings.log.unsynced_bytes_max
        self._journal: Journal
        self._watching: asyncio.Task[None]
        self._bookkeeping: asyncio.Task[None]
        self._next_us = 0
        self._leaving = False

    def __rsgi_init__(self, loop: AbstractEventLoop) -> None:
        self._journal = Journal(self._open_log(loop), self._append_bytes_max)
        self._watching = loop.create_task(self._watch.run(self.adopt, self._look_for_maintenance))
        self._bookkeeping = loop.create_task(self._keep_books())
        loop.add_signal_handler(LEAVE, self.leave)

    def leave(self) -> None:
        """Makes room for the process that takes this one's place."""
        self._leaving = True
        stop_accepting()

    def __rsgi_del__(self, loop: AbstractEventLoop) -> None:
        self._watching.cancel()
        self._bookkeeping.cancel()
        self._close_books(self._arrive().received_us + MINUTE_US)
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

    def _look_for_maintenance(self) -> None:
        if self._maintenance.look():
            logger.warning("edge: maintenance is %s", "on: nothing is accepted" if self._maintenance.on else "off")

    async def __rsgi__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        try:
            answer = await self._answer(scope, protocol)
            leaves = self._leaving and scope.http_version != "2"
            protocol.response_bytes(answer.status, [*answer.headers, CLOSE] if leaves else answer.headers, answer.body)
        except (ProtocolError, ProtocolClosed, asyncio.CancelledError):
            return  # the client has gone; what it sent whole is in the log

    async def _answer(self, scope: Scope, protocol: HTTPProtocol) -> Answer:
        if scope.path in HEALTH_PATHS and scope.method == "GET":
            return IN_MAINTENANCE if self._maintenance.on and scope.path == READY_PATH else HEALTHY
        headers = scope.headers
        match = self._router.resolve(scope.method, scope.path, headers)
        dialect = match.dialect
        call = Call(
            scope.method,
            scope.path,
            scope.query_string,
            headers,
            self._peers.address(scope.client, headers),
            match.parameters,
        )
        if call.method == "OPTIONS" and dialect.preflight:
            return dialect.preflight
        request = Request(dialect, call)
        answer = await self._answer_call(request, match, protocol)
        return request.told(answer)

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
            if not match.stray:  # a browser that asks for its icon is no sender that went wrong
                self._keep(request, refused)
            await request.drain(protocol)
            return dialect.refuse(refused)
        except LogUnavailable as error:
            logger.error("edge: nothing accepted: %s", error)
            unavailable = dialect.refuse(Refused(dialect.faults.unavailable, "the event store is busy; try again"))
            return unavailable._replace(headers=[*unavailable.headers, RETRY_AFTER])
        except (ProtocolError, ProtocolClosed):
            raise
        except Exception:
            logger.exception("edge: defect while answering %s %s", call.method, self._router.told(call.path))
            return dialect.refuse(Refused(dialect.faults.defect, "internal error; the request was not stored"))

    async def _accept(self, request: Request, route: Route, protocol: HTTPProtocol) -> Answer:
        """Admit, read, recall, decode, look up, make durable, remember, answer; each step may refuse."""
        caller = self._admit(request, route)
        keyed: KeyedCall | None = None
        if route.method != "GET":
            await request.read(route, protocol)
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
            self._require_no_maintenance(request)
        if route.open:
            return NOBODY  # and the request has no caller: a refusal of it is kept like any without a key
        caller = request.caller = request.dialect.authenticate(request.call)
        if writes and self._rates.buckets:
            self._count(request, caller)
        return caller

    async def _take(self, request: Request, route: Route, caller: Caller, keyed: KeyedCall | None) -> Answer:
        """The records of the call, durable, and what the dialect answers to them."""
        dialect, arrival = request.dialect, self._arrive()
        if keyed:
            arrival = arrival._replace(new_id=keyed.new_id)
        records, answer = dialect.decode(route.endpoint, request.call, caller, request.body, arrival)
        if not records:
            return answer
        self._require_no_maintenance(request)  # of a GET, only its records tell that it writes
        if keyed:
            mark_undated(records, arrival.received_at)
        if route.open and not self._keyless.take():  # or anybody at all could fill the disk
            raise Refused(dialect.faults.too_many, "too many requests")
        self._next_us = arrival.received_us + len(records)
        self._lookups.fill(records)
        try:
            await self._journal.append(records)
        except AppendTooLarge:
            reason = f"its records take more than {self._append_bytes_max} bytes"
            raise Refused(dialect.faults.too_large, reason) from None
        return answer

    def _require_no_maintenance(self, request: Request) -> None:
        if self._maintenance.on:
            request.fields = [MAINTENANCE_RETRY_AFTER]
            raise Refused(request.dialect.faults.maintenance, "the server is in maintenance; try again later")

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

    def _arrive(self) -> Arrival:
        """Arrival numbers are microseconds that never repeat and never go back."""
        received_us = max(time.time_ns() // 1000, self._next_us)
        self._next_us = received_us + 1
        return Arrival(datetime.fromtimestamp(received_us / 1e6, UTC), received_us, _new_id)

    def _keep(self, request: Request, refused: Refused) -> None:
        """Notes the rejection without waiting for it: nothing was promised about it."""
        if self._maintenance.on:
            return  # whoever needs the disk to be left alone gets that
        call = request.call._replace(path=self._router.told(request.call.path))
        record = self._rejections.record(request.dialect, call, request.caller, refused, request.body, self._arrive())
        if record is not None:
            self._journal.note(record)

    async def _keep_books(self) -> None:
        """Closes the books of each minute once it is over and nothing of it is under way any more."""
        while True:
            await asyncio.sleep(MINUTE_CLOSES_S - time.time() % MINUTE_CLOSES_S + BOOKS_STAY_OPEN_S)
            self._close_books(self._arrive().received_us)

    def _close_books(self, until_us: int) -> None:
        self._journal.close_minutes(until_us, list(self._rejections.overflow(until_us, _new_id)))


def _new_id() -> str:
    return str(uuid7())
