"""The edge's RSGI application: the way of a request, top to bottom, in `EdgeApp._accept`.

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
from functools import partial
from typing import Any

from granian.rsgi import HTTPProtocol, ProtocolClosed, ProtocolError, Scope
from uuid_utils import uuid7

from catchment.books import MINUTE_US, Books
from catchment.dialects.dialect import NOBODY, Answer, Arrival, Call, Caller, Dialect, Route
from catchment.edge.allowance import Allowance
from catchment.edge.answers import Answers
from catchment.edge.body import BadEncoding, TooLarge, decompress, read_body
from catchment.edge.idempotency import KEY_HEADER, BadKey, KeyedCall, key_of, mark_undated
from catchment.edge.lookups import Lookups
from catchment.edge.peers import Peers
from catchment.edge.rates import Rates
from catchment.edge.rejections import Rejections
from catchment.edge.reload import SettingsWatch
from catchment.edge.routing import Match, Router
from catchment.errors import LogUnavailable, Refused
from catchment.log.log import LogWriter
from catchment.maintenance import MaintenanceWatch
from catchment.record import Record, RejectionRecord, encode_lines
from catchment.settings import Settings

RETRY_AFTER = ("retry-after", "5")
MAINTENANCE_RETRY_AFTER = ("retry-after", "30")
JSON = [("content-type", "application/json")]
HEALTHY = Answer(200, JSON, b'{"status":"ok"}')
IN_MAINTENANCE = Answer(503, [*JSON, MAINTENANCE_RETRY_AFTER], b'{"status":"maintenance"}')
MINUTE_CLOSES_S, BOOKS_STAY_OPEN_S = 60.0, 2.0
LIVE_PATH, READY_PATH = "/health/live", "/health/ready"
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
        self._log: LogWriter
        self._watching: asyncio.Task[None]
        self._books = Books()
        self._bookkeeping: asyncio.Task[None]
        self._next_us = 0

    def __rsgi_init__(self, loop: AbstractEventLoop) -> None:
        self._log = self._open_log(loop)
        self._watching = loop.create_task(self._watch.run(self.adopt, self._look_for_maintenance))
        self._bookkeeping = loop.create_task(self._keep_books())

    def __rsgi_del__(self, loop: AbstractEventLoop) -> None:
        self._watching.cancel()
        self._bookkeeping.cancel()
        self._close_books(self._arrive().received_us + MINUTE_US)
        loop.run_until_complete(self._log.close())
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
            protocol.response_bytes(answer.status, answer.headers, answer.body)
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
        request = _Request(dialect, call)
        answer = await self._answer_call(request, match, protocol)
        return request.told(answer) if request.fields else answer

    async def _answer_call(self, request: "_Request", match: Match, protocol: HTTPProtocol) -> Answer:
        dialect, call = request.dialect, request.call
        try:
            if match.route is None:
                assert match.fault is not None
                request.identify()
                raise Refused(match.fault, f"{call.method} {call.path[:200]} is not served here")
            return await self._accept(request, match.route, protocol)
        except Refused as refused:
            self._keep(request, refused)
            return dialect.refuse(refused)
        except LogUnavailable as error:
            logger.error("edge: nothing accepted: %s", error)
            unavailable = dialect.refuse(Refused(dialect.faults.unavailable, "the event store is busy; try again"))
            return unavailable._replace(headers=[*unavailable.headers, RETRY_AFTER])
        except (ProtocolError, ProtocolClosed):
            raise
        except Exception:
            logger.exception("edge: defect while answering %s %s", call.method, call.path)
            return dialect.refuse(Refused(dialect.faults.defect, "internal error; the request was not stored"))

    async def _accept(self, request: "_Request", route: Route, protocol: HTTPProtocol) -> Answer:
        """Authenticate, read, decode, look up, make durable, answer."""
        dialect, call = request.dialect, request.call
        if route.method != "GET":
            self._require_no_maintenance(request)
        if route.open:
            caller = NOBODY  # and the request has none: a refusal of it is kept like any without a key
        else:
            caller = request.caller = dialect.authenticate(call)
        keyed: KeyedCall | None = None
        if route.method != "GET":
            if self._rates.buckets and not route.open:
                self._count(request, caller)
            request.body = await self._read(request, route, protocol)
            if KEY_HEADER in call.headers and not route.open:  # without a caller it would be nobody's key
                keyed = _keyed(request, caller, route)
                if remembered := await self._recall(keyed, dialect):
                    return remembered
        arrival = self._arrive()
        if keyed:
            arrival = arrival._replace(new_id=keyed.new_id)
        records, answer = dialect.decode(route.endpoint, call, caller, request.body, arrival)
        if records:
            self._require_no_maintenance(request)  # of a GET, only its records tell that it writes
            if keyed:
                mark_undated(records, arrival.received_at)
            if route.open and not self._keyless.take():  # or anybody at all could fill the disk
                raise Refused(dialect.faults.too_many, "too many requests")
            self._next_us = arrival.received_us + len(records)
            self._lookups.fill(records)
            await self._append(records, dialect)
        if keyed:
            await self._answers.remember(keyed, answer)
        return answer

    async def _append(self, records: list[Record], dialect: Dialect) -> None:
        """Enters the records into the books, and makes both durable; none of it, where that fails."""
        edge = self._books.enter(records)
        try:
            lines = encode_lines(records)
            if lines.count(b"\n") != len(records):
                raise AssertionError("a record is not one line")
            if len(lines) > self._append_bytes_max:
                raise Refused(dialect.faults.too_large, f"its records take more than {self._append_bytes_max} bytes")
            durable = self._log.append(lines)
        except BaseException:
            self._books.withdraw()
            raise
        try:
            await durable
        except LogUnavailable:
            self._books.begin_anew(edge)
            raise

    def _require_no_maintenance(self, request: "_Request") -> None:
        if self._maintenance.on:
            request.fields = [MAINTENANCE_RETRY_AFTER]
            raise Refused(request.dialect.faults.maintenance, "the server is in maintenance; try again later")

    def _count(self, request: "_Request", caller: Caller) -> None:
        """Takes the request from the application's limit, if it has one, before its body is read."""
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

    async def _read(self, request: "_Request", route: Route, protocol: HTTPProtocol) -> bytes:
        """The body, without its encoding. Of one that cannot be decompressed, the request keeps what was sent."""
        faults, headers = request.dialect.faults, request.call.headers
        try:
            request.body = body = await read_body(protocol, headers, route.body_bytes_max)
            encoding = headers.get("content-encoding")
            return decompress(body, encoding, route.body_bytes_max) if encoding else body
        except TooLarge:
            reason = f"body is larger than {route.body_bytes_max} bytes, counted without compression"
            raise Refused(faults.too_large, reason) from None
        except BadEncoding as error:
            raise Refused(faults.malformed, str(error)) from None

    def _arrive(self) -> Arrival:
        """Arrival numbers are microseconds that never repeat and never go back."""
        received_us = max(time.time_ns() // 1000, self._next_us)
        self._next_us = received_us + 1
        return Arrival(datetime.fromtimestamp(received_us / 1e6, UTC), received_us, _new_id)

    def _keep(self, request: "_Request", refused: Refused) -> None:
        """Appends the rejection without waiting for it: nothing was promised about it."""
        if self._maintenance.on:
            return  # whoever needs the disk to be left alone gets that
        record = self._rejections.record(
            request.dialect, request.call, request.caller, refused, request.body, self._arrive()
        )
        if record is None:
            return
        try:
            self._append_rejection(record)
        except LogUnavailable as error:
            logger.error("edge: a rejection was not kept: %s", error)

    def _append_rejection(self, record: RejectionRecord) -> None:
        edge = self._books.enter_rejection(record)
        try:
            durable = self._log.append(encode_lines([record]))
        except BaseException:
            self._books.withdraw()
            raise
        durable.add_done_callback(partial(self._note_failure, edge))

    def _note_failure(self, edge: str, durable: "asyncio.Future[Any]") -> None:
        if not durable.cancelled() and (error := durable.exception()):
            self._books.begin_anew(edge)
            logger.error("edge: a rejection was not kept: %s", error)

    async def _keep_books(self) -> None:
        """Closes the books of each minute once it is over and nothing of it is under way any more."""
        while True:
            await asyncio.sleep(MINUTE_CLOSES_S - time.time() % MINUTE_CLOSES_S + BOOKS_STAY_OPEN_S)
            self._close_books(self._arrive().received_us)

    def _close_books(self, until_us: int) -> None:
        """Writes what was refused beyond the allowance, then the totals of all minutes before this arrival number."""
        try:
            for record in self._rejections.overflow(until_us, _new_id):
                self._append_rejection(record)
            if closings := self._books.close_minutes(until_us):
                self._log.append(encode_lines(closings)).add_done_callback(_ignore_failure)
        except LogUnavailable as error:
            logger.error("edge: the books of a minute were not closed: %s", error)


class _Request:
    """What is known of a request so far, for the rejection it may become."""

    def __init__(self, dialect: Dialect, call: Call) -> None:
        self.dialect = dialect
        self.call = call
        self.caller: Caller | None = None
        self.body = b""
        self.fields: list[tuple[str, str]] = []

    def told(self, answer: Answer) -> Answer:
        """The answer with `fields`, as far as it has not its own; a browser's page may read them."""
        has = {name for name, _ in answer.headers}
        fields = [field for field in self.fields if field[0] not in has]
        if self.dialect.preflight:
            fields.append(("access-control-expose-headers", ", ".join(name for name, _ in self.fields)))
        return answer._replace(headers=[*answer.headers, *fields])

    def identify(self) -> None:
        """Learns the application where the key tells it, though there is no route."""
        try:
            self.caller = self.dialect.authenticate(self.call)
        except (Refused, KeyError):
            self.caller = None


def _keyed(request: _Request, caller: Caller, route: Route) -> KeyedCall:
    try:
        key = key_of(request.call.headers.get(KEY_HEADER, ""))  # the server gives none that is not ASCII
    except BadKey as error:
        raise Refused(request.dialect.faults.malformed, str(error)) from None
    return KeyedCall(key, request.dialect.source, caller, route, request.call, request.body)


def _new_id() -> str:
    return str(uuid7())


def _ignore_failure(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled() and (error := future.exception()):
        logger.error("edge: the books of a minute were not closed: %s", error)
