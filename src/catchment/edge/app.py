"""The edge's RSGI application: the way of a request, top to bottom, in `EdgeApp._accept`.

Nothing here knows a vendor. A success is answered only after the log said that the records are durable; a refusal is
answered at once and kept as a rejection; a fault of ours is 5xx in the vendor's form, so that the sender tries again.
"""

import asyncio
import logging
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from granian.rsgi import HTTPProtocol, ProtocolClosed, ProtocolError, Scope
from uuid_utils import uuid7

from catchment.dialects.dialect import NOBODY, Answer, Arrival, Call, Caller, Dialect, Route
from catchment.edge.allowance import Allowance
from catchment.edge.body import BadEncoding, TooLarge, decompress, read_body
from catchment.edge.lookups import Lookups
from catchment.edge.peers import Peers
from catchment.edge.rejections import Rejections
from catchment.edge.reload import SettingsWatch
from catchment.edge.routing import Router
from catchment.errors import LogUnavailable, Refused
from catchment.log.log import LogWriter
from catchment.record import encode_lines
from catchment.settings import Settings

RETRY_AFTER = ("retry-after", "5")
HEALTHY = Answer(200, [("content-type", "application/json")], b'{"status":"ok"}')
HEALTH_PATHS = frozenset({"/health/live", "/health/ready"})

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
    ) -> None:
        settings = watch.settings
        self._watch = watch
        self._dialects = dialects
        self._lookups = lookups
        self._open_log = open_log
        self._router = Router(dialects(settings))
        self._peers = Peers(settings.ingest.trusted_proxies)
        self._rejections = Rejections(settings.limits)
        self._keyless = Allowance(settings.limits.keyless_events_per_minute_max, "calls without a key were not taken")
        self._append_bytes_max = settings.log.unsynced_bytes_max
        self._log: LogWriter
        self._watching: asyncio.Task[None]
        self._next_us = 0

    def __rsgi_init__(self, loop: AbstractEventLoop) -> None:
        self._log = self._open_log(loop)
        self._watching = loop.create_task(self._watch.run(self.adopt))

    def __rsgi_del__(self, loop: AbstractEventLoop) -> None:
        self._watching.cancel()
        loop.run_until_complete(self._log.close())

    def adopt(self, settings: Settings) -> None:
        """Uses these settings for the requests to come; those under way keep the dialect that they began with."""
        router, peers = Router(self._dialects(settings)), Peers(settings.ingest.trusted_proxies)
        self._router, self._peers = router, peers
        self._rejections.adopt(settings.limits)
        self._keyless.per_minute_max = settings.limits.keyless_events_per_minute_max

    async def __rsgi__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        try:
            answer = await self._answer(scope, protocol)
            protocol.response_bytes(answer.status, answer.headers, answer.body)
        except (ProtocolError, ProtocolClosed, asyncio.CancelledError):
            return  # the client has gone; what it sent whole is in the log

    async def _answer(self, scope: Scope, protocol: HTTPProtocol) -> Answer:
        if scope.path in HEALTH_PATHS and scope.method == "GET":
            return HEALTHY
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
        if route.open:
            caller = NOBODY  # and the request has none: a refusal of it is kept like any without a key
        else:
            caller = request.caller = dialect.authenticate(call)
        if route.method != "GET":
            request.body = await self._read(request, route, protocol)
        arrival = self._arrive()
        records, answer = dialect.decode(route.endpoint, call, caller, request.body, arrival)
        if records:
            if route.open and not self._keyless.take():  # or anybody at all could fill the disk
                raise Refused(dialect.faults.too_many, "too many requests")
            self._next_us = arrival.received_us + len(records)
            self._lookups.fill(records)
            lines = encode_lines(records)
            if lines.count(b"\n") != len(records):
                raise AssertionError("a record is not one line")
            if len(lines) > self._append_bytes_max:
                raise Refused(dialect.faults.too_large, f"its records take more than {self._append_bytes_max} bytes")
            await self._log.append(lines)
        return answer

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
        record = self._rejections.record(
            request.dialect, request.call, request.caller, refused, request.body, self._arrive()
        )
        if record is None:
            return
        try:
            self._log.append(encode_lines([record])).add_done_callback(_ignore_failure)
        except LogUnavailable as error:
            logger.error("edge: a rejection was not kept: %s", error)


class _Request:
    """What is known of a request so far, for the rejection it may become."""

    def __init__(self, dialect: Dialect, call: Call) -> None:
        self.dialect = dialect
        self.call = call
        self.caller: Caller | None = None
        self.body = b""

    def identify(self) -> None:
        """Learns the application where the key tells it, though there is no route."""
        try:
            self.caller = self.dialect.authenticate(self.call)
        except (Refused, KeyError):
            self.caller = None


def _new_id() -> str:
    return str(uuid7())


def _ignore_failure(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled() and (error := future.exception()):
        logger.error("edge: a rejection was not kept: %s", error)
