"""The body of the edge group, under Granian: one parent, and workers on one port.

It logs through the root logger, as the core does (`processes`). What it imports is a part of the time until the first
request is answered, so it imports nothing of the core.
"""

import os
from functools import partial
from pathlib import Path
from typing import Any

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops, SSLProtocols
from granian.log import LogLevels

from catchment import edge_wiring
from catchment.holding import refuse_beside_server
from catchment.parts import DRAIN_S, exit_with_parent
from catchment.settings import Settings

_RESPAWN_S = 0.1  # from the start of a worker in place of a dead one until the dead one is let go
# Granian's own handlers write to standard output; without them its lines reach the root logger.
_GRANIAN_LOGGING: dict[str, Any] = {
    "formatters": {},
    "handlers": {},
    "loggers": {"_granian": {"handlers": [], "propagate": True}},
}


def run_edge(data_dir: Path, settings: Settings) -> int:
    """Runs the edge processes until SIGTERM; requests under way are answered first."""
    exit_with_parent()
    refuse_beside_server(data_dir)
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
    ).serve(target_loader=partial(edge_wiring.edge_app, data_dir, os.getpid(), settings), wrap_loader=False)
    return 0
