"""The bodies of the two kinds of processes: the edge group under Granian, the core under Uvicorn.

Both log through the root logger, to standard error: what `serve` prints for a person stays alone on standard output.
"""

import math
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops, SSLProtocols
from granian.log import LogLevels

from catchment import wiring
from catchment.api.shield import StrictProtocol
from catchment.certificate import serving_context
from catchment.edge_group import EdgeGroup
from catchment.settings import Settings
from catchment.store.store import StoreError
from catchment.supervisor import DRAIN_S
from catchment.watch import LOOK_S, stamp

CLAIM_WITHIN_S = 20.0
CORE_NICENESS = 10  # where processors are short, accepting goes before loading, which catches up
_POLL_S = 0.1
_RESPAWN_S = 0.1  # from the start of a worker in place of a dead one until the dead one is let go
# Granian's own handlers write to standard output; without them its lines reach the root logger.
_GRANIAN_LOGGING: dict[str, Any] = {
    "formatters": {},
    "handlers": {},
    "loggers": {"_granian": {"handlers": [], "propagate": True}},
}


def run_edge(data_dir: Path, settings: Settings) -> int:
    """Runs the edge processes until SIGTERM; requests under way are answered first."""
    wiring.exit_with_parent()
    ingest = settings.ingest
    kept = Path(ingest.tls_cert) if ingest.tls_cert else None
    group = (EdgeGroup if kept else Granian)(
        "catchment",
        address=ingest.host,
        port=ingest.port,
        interface=Interfaces.RSGI,
        workers=ingest.workers,
        loop=Loops.uvloop,
        http=HTTPModes.auto,
        websockets=False,
        backlog=max(1024, ingest.connections_max),
        backpressure=ingest.connections_max,
        log_level=LogLevels.error,  # its warnings are advice on settings, and a false alarm when it stops
        log_dictconfig=_GRANIAN_LOGGING,
        ssl_cert=kept,
        ssl_key=Path(ingest.tls_key) if ingest.tls_key else None,
        ssl_protocol_min=SSLProtocols.tls12,
        respawn_failed_workers=True,
        respawn_interval=_RESPAWN_S,
        workers_kill_timeout=DRAIN_S,
    )
    if kept:
        _follow(kept, group.signal_handler_reload)
    group.serve(target_loader=partial(wiring.edge_app, data_dir, os.getpid(), settings), wrap_loader=False)
    return 0


def run_core(data_dir: Path, settings: Settings) -> int:
    """Runs the core until SIGTERM; what the log holds by then is loaded first."""
    wiring.exit_with_parent()
    _claim(data_dir)
    os.nice(CORE_NICENESS)
    signal.signal(signal.SIGTERM, _leave)  # Uvicorn gives the signal on when it is done; that is no failure
    try:
        app = wiring.core(settings, data_dir)
    except StoreError as error:
        raise SystemExit(f"the store fails: {error}") from None
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
        _follow(kept, partial(context.load_cert_chain, kept))
    server.run()
    return 0 if server.started else 1


def _follow(kept: Path, take: Callable[[], None]) -> None:
    """Calls `take` from a thread whenever the certificate is another one than now."""
    taken = stamp(kept)

    def look() -> None:
        nonlocal taken
        while True:
            time.sleep(LOOK_S)
            found = stamp(kept)
            if found and found != taken:  # it is written whole
                taken = found
                take()

    threading.Thread(target=look, name="certificate-watch", daemon=True).start()


def _claim(data_dir: Path) -> None:
    """Waits for whoever has the store open: a command that asks it, or the core of a server that was killed."""
    deadline = time.monotonic() + CLAIM_WITHIN_S
    while not wiring.claim_core(data_dir):
        if time.monotonic() > deadline:
            raise SystemExit(f"another process has the store of {data_dir} open; end it, then start again")
        time.sleep(_POLL_S)


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)
