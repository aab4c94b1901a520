"""The body of the core, under Uvicorn; that of the edge is in `edge_processes`.

It logs through the root logger, to standard error: what `serve` prints for a person stays alone on standard output.
"""

import math
import signal
import time
from pathlib import Path
from types import FrameType

import uvicorn

from catchment import wiring
from catchment.holding import CORE_LOCK, InUse, holder, refuse_beside_server
from catchment.parts import DRAIN_S, exit_with_parent, let_the_edge_go_first
from catchment.settings import Settings
from catchment.store.store import StoreError

CLAIM_WITHIN_S = 20.0
_POLL_S = 0.1


def run_core(data_dir: Path, settings: Settings) -> int:
    """Runs the core until SIGTERM; what the log holds by then is loaded first."""
    exit_with_parent()
    refuse_beside_server(data_dir)
    _claim(data_dir)
    let_the_edge_go_first()
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


def _claim(data_dir: Path) -> None:
    """Waits for whoever has the store open: a command that asks it, or the core of a server that was killed."""
    deadline = time.monotonic() + CLAIM_WITHIN_S
    while not wiring.claim_core(data_dir):
        if time.monotonic() > deadline:
            raise InUse(f"{holder(data_dir / CORE_LOCK)} has the store of {data_dir} open; end it, then start again")
        time.sleep(_POLL_S)


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)
