"""The core's HTTP application. It knows the store, the log's backlog and the loader's progress, and no vendor.

Every path but the health checks and `/openapi.json` wants `Authorization: Bearer` with the console's token (`access`);
what every call and every answer has in common is in `shield`. Errors are `{"error": "what to change"}`.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from catchment.api.access import Access, NotAllowed
from catchment.api.metrics import CONTENT_TYPE, Metrics
from catchment.api.overview import overview
from catchment.api.shield import STRICT_HEADERS
from catchment.loader import Loader
from catchment.log.log import LogReader
from catchment.store import queries
from catchment.store.store import QueryError, Store
from catchment.watch import LOOK_S

BODY_BYTES_MAX = 1024 * 1024
VISIBLE_WITHIN = timedelta(minutes=1)  # how long an insert may take from its `loaded_at` until it is seen
OpenCore = Callable[[], tuple[Store, LogReader, Loader]]
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


class _Core:
    """What the running core holds."""

    def __init__(self, store: Store, log: LogReader, loader: Loader, data_dir: Path) -> None:
        self.store = store
        self.log = log
        self.loader = loader
        self.metrics = Metrics(partial(overview, store, log, loader, data_dir))


def core_app(access: Access, data_dir: Path, open_core: OpenCore, openapi: dict[str, Any]) -> Starlette:
    """The application; `open_core` is called when it starts. `openapi` describes the other port."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        core = _Core(*await run_in_threadpool(open_core), data_dir)
        stop = threading.Event()
        thread = threading.Thread(target=core.loader.run, args=(stop,), name="loader")
        thread.start()
        app.state.core = core
        looking = asyncio.create_task(_look(access))
        try:
            yield
        finally:
            looking.cancel()
            stop.set()
            await asyncio.to_thread(thread.join)
            core.log.close()
            core.store.close()

    async def run_sql(request: Request) -> Response:
        body = await _body(request)
        wanted = msgspec.json.decode(body, type=SqlRequest)
        answer = await run_in_threadpool(request.app.state.core.store.query, wanted.query, wanted.parameters)
        return _json({"columns": [column._asdict() for column in answer.columns], "rows": answer.rows})

    async def tail(request: Request) -> Response:
        wanted = msgspec.convert(dict(request.query_params), TailRequest)
        begin = wanted.after or f"{datetime.now(UTC) - VISIBLE_WITHIN:%Y-%m-%d %H:%M:%S.%f}"
        answer = await run_in_threadpool(
            request.app.state.core.store.query, queries.text("tail"), msgspec.structs.asdict(wanted)
        )
        return _json({"rows": answer.rows, "after": answer.rows[-1]["loaded_at"] if answer.rows else begin})

    async def status(request: Request) -> Response:
        core = request.app.state.core
        return _json(await run_in_threadpool(overview, core.store, core.log, core.loader, data_dir))

    async def metrics(request: Request) -> Response:
        text = await run_in_threadpool(request.app.state.core.metrics.text)
        return Response(text, media_type=CONTENT_TYPE, headers=STRICT_HEADERS)

    async def health(_: Request) -> Response:
        return _json({"status": "ok"})

    async def describe(_: Request) -> Response:
        return _json(openapi)

    guard = _guard(access)
    app = Starlette(
        lifespan=lifespan,
        routes=[
            Route("/health/live", health),
            Route("/health/ready", health),
            Route("/openapi.json", describe),
            Route("/api/sql", guard(run_sql), methods=["POST"]),
            Route("/api/tail", guard(tail)),
            Route("/api/status", guard(status)),
            Route("/metrics", guard(metrics)),
        ],
        exception_handlers={HTTPException: _not_served, Exception: _defect},
    )
    app.router.redirect_slashes = False
    return app


async def _look(access: Access) -> None:
    while True:
        await asyncio.sleep(LOOK_S)
        await run_in_threadpool(access.look)


def _guard(access: Access) -> Callable[[Handler], Handler]:
    """Lets only those through who may ask, and turns the asker's mistakes into 4xx."""

    def guard(handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            try:
                access.check(request.headers.get("authorization"), request.client.host if request.client else "")
            except NotAllowed as refused:
                return _not_allowed(refused)
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


def _not_allowed(refused: NotAllowed) -> Response:
    if refused.wait_s:
        reason = f"too many wrong tokens from this address; try again in {refused.wait_s} s"
        return _json({"error": reason}, 429, {"retry-after": str(refused.wait_s)})
    hint = "send `Authorization: Bearer TOKEN`, as the first start printed it; `catchment token` makes another"
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
