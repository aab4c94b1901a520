"""The core's HTTP application. It knows the store, the log's backlog and the loader's progress, and no vendor.

Every path but the health checks and `/openapi.json` wants `Authorization: Bearer` with the console's token. Errors are
`{"error": "what to change"}`.
"""

import asyncio
import hmac
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from catchment.api.metrics import CONTENT_TYPE, Metrics
from catchment.api.overview import overview
from catchment.api.queries import Queries
from catchment.loader import Loader
from catchment.log.log import LogReader
from catchment.settings import Settings
from catchment.store import queries
from catchment.store.store import QueryError, Store
from catchment.telemetry.tracing import Tracing

BODY_BYTES_MAX = 1024 * 1024
VISIBLE_WITHIN = timedelta(minutes=1)  # how long an insert may take from its `loaded_at` until it is seen
LIVE_PATH, READY_PATH = "/health/live", "/health/ready"
STRICT_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
Handler = Callable[[Request], Awaitable[Response]]


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

    def __init__(self, opened: OpenedCore, settings: Settings, data_dir: Path) -> None:
        self.store, self.log, self.loader, self.tracing = opened
        self.queries = Queries(self.store, self.tracing)
        self.metrics = Metrics.of_core(self.store, self.log, self.loader, self.queries, settings, data_dir)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.loader.run, args=(self.stop,), name="loader")

    def close(self) -> None:
        """Loads what is left, then lets go of everything."""
        self.stop.set()
        self.thread.join()
        self.log.close()
        self.store.close()
        if self.tracing:
            self.tracing.close()

    def why_not_ready(self) -> str:
        """A sentence, without what the store says of it, for anybody may ask; `""` where it is ready."""
        if not self.thread.is_alive():
            return "the loader has ended; restart the server"
        if self.loader.progress.failing_since is not None:
            return "nothing can be loaded into the store; `catchment status` tells why, and the log keeps everything"
        return ""


def core_app(settings: Settings, data_dir: Path, open_core: OpenCore, openapi: dict[str, Any]) -> Starlette:
    """The application; `open_core` is called when it starts. `openapi` describes the other port."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        core = _Core(await run_in_threadpool(open_core), settings, data_dir)
        core.thread.start()
        app.state.core = core
        try:
            yield
        finally:
            app.state.core = None
            await asyncio.to_thread(core.close)

    async def run_sql(request: Request) -> Response:
        body = await _body(request)
        wanted = msgspec.json.decode(body, type=SqlRequest)
        answer = await request.app.state.core.queries.ask("sql", wanted.query, wanted.parameters)
        return _json({"columns": [column._asdict() for column in answer.columns], "rows": answer.rows})

    async def tail(request: Request) -> Response:
        wanted = msgspec.convert(dict(request.query_params), TailRequest)
        begin = wanted.after or f"{datetime.now(UTC) - VISIBLE_WITHIN:%Y-%m-%d %H:%M:%S.%f}"
        parameters = msgspec.structs.asdict(wanted)
        answer = await request.app.state.core.queries.ask("tail", queries.text("tail"), parameters)
        return _json({"rows": answer.rows, "after": answer.rows[-1]["loaded_at"] if answer.rows else begin})

    async def status(request: Request) -> Response:
        core = request.app.state.core
        return _json(await run_in_threadpool(overview, core.store, core.log, core.loader, data_dir))

    async def metrics(request: Request) -> Response:
        text = await run_in_threadpool(request.app.state.core.metrics.text)
        return Response(text, media_type=CONTENT_TYPE, headers=STRICT_HEADERS)

    async def live(_: Request) -> Response:
        return _json({"status": "ok"})

    async def ready(request: Request) -> Response:
        core: _Core | None = getattr(request.app.state, "core", None)
        reason = core.why_not_ready() if core else "the store is not open"
        return _json({"status": "unavailable", "reason": reason}, 503) if reason else _json({"status": "ok"})

    async def describe(_: Request) -> Response:
        return _json(openapi)

    guard = _guard(settings.console.token)
    return Starlette(
        lifespan=lifespan,
        routes=[
            Route(LIVE_PATH, live),
            Route(READY_PATH, ready),
            Route("/openapi.json", describe),
            Route("/api/sql", guard(run_sql), methods=["POST"]),
            Route("/api/tail", guard(tail)),
            Route("/api/status", guard(status)),
            Route("/metrics", guard(metrics)),
        ],
        exception_handlers={HTTPException: _not_served, Exception: _defect},
    )


def _guard(token: str) -> Callable[[Handler], Handler]:
    """Lets only the bearer of the token through, and turns the asker's mistakes into 4xx."""
    expected = token.encode()

    def guard(handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            scheme, _, given = request.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), expected):
                hint = "send `Authorization: Bearer TOKEN`; `catchment keys` prints the token"
                return _json({"error": hint}, 401, {"www-authenticate": "Bearer"})
            try:
                return await handler(request)
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


async def _not_served(request: Request, error: Exception) -> Response:
    """A path or a method that is not there."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    allowed = f"; use {headers['Allow']}" if "Allow" in headers else ""
    reason = f"{request.method} {request.url.path[:200]} is not served here{allowed}"
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
        headers=STRICT_HEADERS | (headers or {}),
    )
