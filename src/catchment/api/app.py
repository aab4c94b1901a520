"""The core's HTTP application. It knows the store, the log's backlog and the loader's progress, and no vendor.

Every path but the health checks and `/openapi.json` wants `Authorization: Bearer` with the console's token (`access`);
what every call and every answer has in common is in `shield`. Errors are `{"error": "what to change"}`.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from catchment.api.access import Access, NotAllowed
from catchment.api.counted import counted
from catchment.api.hold import TakeSnapshot, hold
from catchment.api.metrics import CONTENT_TYPE, Metrics
from catchment.api.overview import overview, pulse
from catchment.api.queries import Queries
from catchment.api.shield import STRICT_HEADERS
from catchment.api.turns import RETRY_AFTER_S, TooManyWait, Turns
from catchment.loader import Loader
from catchment.log.log import LogReader
from catchment.log.room import Growth
from catchment.settings import Settings
from catchment.store import queries
from catchment.store.store import QueryError, Store
from catchment.telemetry import files
from catchment.telemetry.tracing import Tracing

BODY_BYTES_MAX = 1024 * 1024
VISIBLE_WITHIN = timedelta(minutes=1)  # how long an insert may take from its `loaded_at` until it is seen
GROWTH_LOOK_S = 5.0
LOOKS_AT_ONCE, LOOKS_WAITING_MAX = 4, 32  # at `status` and `metrics`
LIVE_PATH, READY_PATH = "/health/live", "/health/ready"
Handler = Callable[[Request], Awaitable[Response]]

logger = logging.getLogger(__name__)


class SqlRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `POST /api/sql`; `parameters` are bound to `{name:Type}` in the query."""

    query: str
    parameters: dict[str, Any] = {}


class TailRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Query string of `GET /api/tail`; `after` is that of the answer before, and the first call has none."""

    after: str = ""
    source: str = ""
    name: str = ""
    user_id: str = ""


class OpenedCore(NamedTuple):
    """What the core works with."""

    store: Store
    log: LogReader
    loader: Loader
    tracing: Tracing | None = None


OpenCore = Callable[[], OpenedCore]


class _Core:
    """What the running core holds."""

    def __init__(
        self,
        opened: OpenedCore,
        settings: Settings,
        data_dir: Path,
        beside: Sequence[Callable[[threading.Event], None]],
    ) -> None:
        self.store, self.log, self.loader, self.tracing = opened
        self.growth = Growth()
        self.queries = Queries(self.store, settings.sql, self.tracing)
        self.looks = Turns("looks", LOOKS_AT_ONCE, LOOKS_WAITING_MAX)
        self.overview = partial(overview, self.store, self.log, self.loader, data_dir, settings.log, self.growth)
        self.metrics = Metrics(
            self.overview,
            partial(pulse, self.log, self.loader, settings, data_dir, self.growth),
            partial(counted, data_dir / files.FOLDER, self.loader.progress, self.queries),
        )
        self._stop = threading.Event()
        runs = {"loader": self.loader.run, "growth": self._watch_growth} | {run.__qualname__: run for run in beside}
        self._threads = [threading.Thread(target=run, args=(self._stop,), name=name) for name, run in runs.items()]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Loads what is left, then lets go of everything."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.log.close()
        if self.tracing:
            self.tracing.close()
        self.store.close()  # the last, for it may end the process

    def why_not_ready(self) -> str:
        """A sentence, without what the store says of it, for anybody may ask; `""` where it is ready."""
        if not self._threads[0].is_alive():
            return "the loader has ended; restart the server"
        if self.loader.progress.failing_since is not None:
            return "nothing can be loaded into the store; `catchment status` tells why, and the log keeps everything"
        return ""

    def warning(self) -> str:
        """A sentence, for anybody too, on what is wrong though the core is ready; `""` where nothing is."""
        if self.log.unreadable():
            return (
                "what waits in a folder of the log cannot be read; all else is loaded, and `catchment status` tells why"
            )
        return ""

    def _watch_growth(self, stop: threading.Event) -> None:
        """Looks at what waits in the log, until `stop` is set."""
        while not stop.wait(GROWTH_LOOK_S):
            try:
                self.growth.note(time.monotonic(), self.log.backlog().unread_bytes)
            except OSError as error:
                logger.debug("core: nobody can tell what waits in the log: %s", error)


def core_app(
    access: Access,
    settings: Settings,
    data_dir: Path,
    *,
    open_core: OpenCore,
    openapi: dict[str, Any],
    take_snapshot: TakeSnapshot,
    beside: Sequence[Callable[[threading.Event], None]] = (),
) -> Starlette:
    """The application; `open_core` is called when it starts. `openapi` describes the other port. Each of `beside` runs
    in a thread, as the loader does, until its event is set."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        core = _Core(await run_in_threadpool(open_core), settings, data_dir, [*beside, access.run])
        core.start()
        app.state.core = core
        try:
            yield
        finally:
            app.state.core = None
            await asyncio.to_thread(core.close)

    async def run_sql(request: Request) -> Response:
        body = await _body(request)
        wanted = msgspec.json.decode(body, type=SqlRequest)
        still = partial(_still_wanted, access, request)
        answer = await request.app.state.core.queries.ask("sql", wanted.query, wanted.parameters, still)
        return _json({"columns": answer.columns, "rows": answer.encoded})

    async def tail(request: Request) -> Response:
        wanted = msgspec.convert(dict(request.query_params), TailRequest)
        begin = wanted.after or f"{datetime.now(UTC) - VISIBLE_WITHIN:%Y-%m-%d %H:%M:%S.%f}"
        parameters = msgspec.structs.asdict(wanted)
        still = partial(_still_wanted, access, request)
        answer = await request.app.state.core.queries.ask("tail", queries.text("tail"), parameters, still)
        rows = answer.rows
        return _json({"rows": rows, "after": rows[-1]["loaded_at"] if rows else begin})

    async def status(request: Request) -> Response:
        core: _Core = request.app.state.core
        return _json(await core.looks.take(core.overview, partial(_still_wanted, access, request)))

    async def metrics(request: Request) -> Response:
        core: _Core = request.app.state.core
        text = await core.looks.take(core.metrics.text, partial(_still_wanted, access, request))
        return Response(text, media_type=CONTENT_TYPE, headers=STRICT_HEADERS)

    async def live(_: Request) -> Response:
        return _json({"status": "ok"})

    async def ready(request: Request) -> Response:
        core: _Core | None = getattr(request.app.state, "core", None)
        reason = core.why_not_ready() if core else "the store is not open"
        if core is None or reason:
            return _json({"status": "unavailable", "reason": reason}, 503)
        return _json({"status": "ok"} | ({"warning": warning} if (warning := core.warning()) else {}))

    async def describe(_: Request) -> Response:
        return _json(openapi)

    guard = _guard(access)
    app = Starlette(
        lifespan=lifespan,
        routes=[
            Route(LIVE_PATH, live),
            Route(READY_PATH, ready),
            Route("/openapi.json", describe),
            Route("/api/sql", guard(run_sql), methods=["POST"]),
            Route("/api/tail", guard(tail)),
            Route("/api/status", guard(status)),
            Route("/metrics", guard(metrics)),
            Route("/api/backup", guard(partial(hold, take_snapshot)), methods=["POST"]),
        ],
        exception_handlers={HTTPException: _not_served, Exception: _defect},
    )
    app.router.redirect_slashes = False
    return app


def _check(access: Access, request: Request) -> None:
    """Raises `NotAllowed`."""
    access.check(request.headers.get("authorization"), request.client.host if request.client else "")


async def _still_wanted(access: Access, request: Request) -> None:
    """Raises where whoever waited for their turn may not ask any more, or has gone."""
    _check(access, request)
    if await request.is_disconnected():
        raise ClientDisconnect


def _guard(access: Access) -> Callable[[Handler], Handler]:
    """Lets only those through who may ask, and turns the asker's mistakes into 4xx."""

    def guard(handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            try:
                _check(access, request)
                return await handler(request)
            except NotAllowed as refused:
                return _not_allowed(refused)
            except TooManyWait as busy:
                return _json({"error": str(busy)}, 503, {"retry-after": str(RETRY_AFTER_S)})
            except QueryError as error:
                return _json({"error": str(error)}, 400)
            except _TooLarge:
                return _json({"error": f"the body is larger than {BODY_BYTES_MAX} bytes"}, 413)
            except (msgspec.MsgspecError, RecursionError) as error:
                return _json({"error": f"the request is not understood: {error}"}, 400)
            except UnicodeError as error:
                return _json({"error": f"the request holds text that is not UTF-8: {error}"}, 400)
            except ClientDisconnect:
                return Response(status_code=400)

        return guarded

    return guard


def _not_allowed(refused: NotAllowed) -> Response:
    if refused.wait_s:
        reason = f"too many wrong tokens from this address; try again in {refused.wait_s} s"
        return _json({"error": reason}, 429, {"retry-after": str(refused.wait_s)})
    hint = (
        "send `Authorization: Bearer TOKEN` with the console's token: the one that `catchment token` printed last, or"
        " where it was never used, the first start; it is kept nowhere, and `catchment token` makes another"
    )
    return _json({"error": hint}, 401, {"www-authenticate": "Bearer"})


async def _not_served(request: Request, error: Exception) -> Response:
    """A path or a method that is not there."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    allowed = f"; use {headers['Allow']}" if "Allow" in headers else ""
    reason = f"{request.method[:20]} {request.url.path[:200]} is not served here{allowed}"
    return _json({"error": reason}, error.status_code, headers)


async def _defect(_: Request, __: Exception) -> Response:
    """Ours, not the asker's; Starlette raises it again behind the answer, for the log."""
    return _json({"error": "internal error; the server's log has it"}, 500)


class _TooLarge(Exception):
    pass


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > BODY_BYTES_MAX:
            raise _TooLarge
    return body


def _json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(
        msgspec.json.encode(value),
        status_code=status,
        media_type="application/json",
        headers={**STRICT_HEADERS, **(headers or {})},
    )
