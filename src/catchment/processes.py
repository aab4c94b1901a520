"""The body of the core, under Uvicorn; that of the edge is in `edge_processes`.

It logs through the root logger, to standard error: what `serve` prints for a person stays alone on standard output.
"""

import math
import signal
import time
from functools import partial
from pathlib import Path
from types import FrameType

import uvicorn

from catchment import wiring
from catchment.api.shield import StrictProtocol
from catchment.certificate import follow, serving_context
from catchment.holding import CORE_LOCK, InUse, holder, refuse_beside_server
from catchment.parts import DRAIN_S, allow_many_files, exit_with_parent, let_the_edge_go_first
from catchment.settings import Settings
from catchment.store.store import StoreError
from catchment.supervisor import CannotServe

CLAIM_WITHIN_S = 20.0
_POLL_S = 0.1


def run_core(data_dir: Path, settings: Settings) -> int:
    """Runs the core until SIGTERM; what the log holds by then is loaded first."""
    exit_with_parent()
    allow_many_files()
    refuse_beside_server(data_dir)
    _claim(data_dir)
    let_the_edge_go_first()
    signal.signal(signal.SIGTERM, _leave)  # Uvicorn gives the signal on when it is done; that is no failure
    try:
        app = wiring.core(settings, data_dir)
    except StoreError as error:
        raise CannotServe(f"the store fails: {error}") from None
    kept = Path(settings.ingest.tls_cert) if settings.ingest.tls_cert else None
    context = serving_context(kept) if kept else None
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.console.host,
            port=settings.console.port,
            loop="uvloop",
            http=StrictProtocol,
            ws="none",
            log_level="warning",
            log_config=None,
            access_log=False,
            ssl_context_factory=(lambda _, __: context) if context else None,
            timeout_graceful_shutdown=DRAIN_S + math.ceil(settings.sql.seconds_max),
            server_header=False,
            proxy_headers=False,  # or whoever sends X-Forwarded-For would choose under which address it fails to log in
        )
    )
    if kept and context:
        follow(kept, partial(context.load_cert_chain, kept))
    server.run()
    return 0 if server.started else 1


def _claim(data_dir: Path) -> None:
    """Waits for whoever has the store open: a command that asks it, or the core of a server that was killed."""
    deadline = time.monotonic() + CLAIM_WITHIN_S
    while not wiring.claim_core(data_dir):
        if time.monotonic() > deadline:
            raise InUse(f"{holder(data_dir / CORE_LOCK)} has the store of {data_dir} open; end it, then start again")
        time.sleep(_POLL_S)


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)
