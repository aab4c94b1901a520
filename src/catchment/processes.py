"""The bodies of the two kinds of processes: the edge group under Granian, the core under Uvicorn.

Both log through the root logger, to standard error: what `serve` prints for a person stays alone on standard output.
"""

import math
import os
import resource
import signal
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops, SSLProtocols
from granian.log import LogLevels

from catchment import wiring
from catchment.settings import Settings
from catchment.store.store import StoreError
from catchment.supervisor import DRAIN_S

CLAIM_WITHIN_S = 20.0
FILES_MAX = 1 << 20
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
    _allow_many_files()
    ingest = settings.ingest
    Granian(
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
        ssl_cert=Path(ingest.tls_cert) if ingest.tls_cert else None,
        ssl_key=Path(ingest.tls_key) if ingest.tls_key else None,
        ssl_protocol_min=SSLProtocols.tls12,
        respawn_failed_workers=True,
        respawn_interval=_RESPAWN_S,
        workers_kill_timeout=DRAIN_S,
    ).serve(target_loader=partial(wiring.edge_app, data_dir, os.getpid(), settings), wrap_loader=False)
    return 0


def run_core(data_dir: Path, settings: Settings) -> int:
    """Runs the core until SIGTERM; what the log holds by then is loaded first."""
    wiring.exit_with_parent()
    _allow_many_files()
    _claim(data_dir)
    os.nice(CORE_NICENESS)
    signal.signal(signal.SIGTERM, _leave)  # Uvicorn gives the signal on when it is done; that is no failure
    try:
        app = wiring.core(settings, data_dir)
    except StoreError as error:
        raise SystemExit(f"the store fails: {error}") from None
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.console.host,
            port=settings.console.port,
            loop="uvloop",
            log_level="warning",
            log_config=None,
            access_log=False,
            ssl_certfile=settings.ingest.tls_cert,
            ssl_keyfile=settings.ingest.tls_key,
            timeout_graceful_shutdown=DRAIN_S + math.ceil(settings.sql.seconds_max),
            server_header=False,
        )
    )
    server.run()
    return 0 if server.started else 1


def _allow_many_files() -> None:
    """As many as the system lets this process have: many connections, and while parts are merged, the columns of all
    of them, are more than the 1024 that most systems begin with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _claim(data_dir: Path) -> None:
    """Waits for whoever has the store open: a command that asks it, or the core of a server that was killed."""
    deadline = time.monotonic() + CLAIM_WITHIN_S
    while not wiring.claim_core(data_dir):
        if time.monotonic() > deadline:
            raise SystemExit(f"another process has the store of {data_dir} open; end it, then start again")
        time.sleep(_POLL_S)


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)
