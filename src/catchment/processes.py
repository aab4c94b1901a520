"""The bodies of the two kinds of processes: the edge group under Granian, the core under Uvicorn."""

import signal
from functools import partial
from pathlib import Path
from types import FrameType

import uvicorn
from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops, SSLProtocols
from granian.log import LogLevels

from catchment import wiring
from catchment.settings import Settings

DRAIN_S = 20


def run_edge(data_dir: Path, settings: Settings) -> int:
    """Runs the edge processes until SIGTERM; requests under way are answered first."""
    wiring.exit_with_parent()
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
        log_level=LogLevels.warning,
        ssl_cert=Path(ingest.tls_cert) if ingest.tls_cert else None,
        ssl_key=Path(ingest.tls_key) if ingest.tls_key else None,
        ssl_protocol_min=SSLProtocols.tls12,
        respawn_failed_workers=True,
        workers_kill_timeout=DRAIN_S,
    ).serve(target_loader=partial(wiring.edge_app, data_dir), wrap_loader=False)
    return 0


def run_core(data_dir: Path, settings: Settings) -> int:
    """Runs the core until SIGTERM; what the log holds by then is loaded first."""
    wiring.exit_with_parent()
    if not wiring.claim_core(data_dir):
        raise SystemExit(f"another process has the store of {data_dir} open")
    signal.signal(signal.SIGTERM, _leave)  # Uvicorn gives the signal on when it is done; that is no failure
    server = uvicorn.Server(
        uvicorn.Config(
            wiring.core(settings, data_dir),
            host=settings.console.host,
            port=settings.console.port,
            loop="uvloop",
            log_level="warning",
            access_log=False,
            ssl_certfile=settings.ingest.tls_cert,
            ssl_keyfile=settings.ingest.tls_key,
            timeout_graceful_shutdown=DRAIN_S,
            server_header=False,
        )
    )
    server.run()
    return 0 if server.started else 1


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)
