"""The body of the edge group, under Granian: one parent, and workers on one port.

It logs through the root logger, as the core does (`processes`). What it imports is a part of the time until the first
request is answered, so it imports nothing of the core.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from granian.constants import HTTPModes, Interfaces, Loops, SSLProtocols
from granian.http import HTTP1Settings, HTTP2Settings
from granian.log import LogLevels

from catchment import edge_wiring
from catchment.certificate import follow
from catchment.edge_group import EdgeGroup
from catchment.edge_parent import EdgeParent
from catchment.hanging import HangWatch
from catchment.holding import refuse_beside_server
from catchment.parts import DRAIN_S, allow_many_files, exit_with_parent, tell_where_it_stands
from catchment.settings import Ingest, Settings
from catchment.telemetry import files

HTTP2_WINDOW_BYTES = 256 * 1024
HTTP2_STREAMS_MAX = 64
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
    allow_many_files()
    tell_where_it_stands()
    refuse_beside_server(data_dir)
    ingest = settings.ingest
    kept = Path(ingest.tls_cert) if ingest.tls_cert else None
    group = (EdgeGroup if kept else EdgeParent)(
        "catchment",
        address=ingest.host,
        port=ingest.port,
        interface=Interfaces.RSGI,
        workers=ingest.workers,
        loop=Loops.uvloop,
        http=HTTPModes.auto if ingest.http2 else HTTPModes.http1,  # `auto` waits for a first byte for ever
        http1_settings=HTTP1Settings(
            header_read_timeout=round(ingest.head_seconds_max * 1000), max_buffer_size=ingest.head_bytes_max
        ),
        http2_settings=_http2_settings(ingest),
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
        follow(kept, group.signal_handler_reload)
    HangWatch(data_dir / files.FOLDER, partial(_living, group), _kill).start()
    group.serve(target_loader=partial(edge_wiring.edge_app, data_dir, os.getpid(), settings), wrap_loader=False)
    return 0


def _living(group: Any) -> Iterator[int]:
    """Its processes, but none while it stops: they write no more then, and have their own deadline."""
    for worker in [] if group.interrupt_signal else list(group.wrks):
        if worker.inner.pid and not wait([worker.inner.sentinel], timeout=0):
            yield worker.inner.pid


def _kill(worker: int) -> None:
    """So that Granian takes it for one that died, and starts another one."""
    with suppress(ProcessLookupError):
        os.kill(worker, signal.SIGKILL)


def _http2_settings(ingest: Ingest) -> HTTP2Settings:
    """What one connection may hold: a window of bytes that nobody has read yet, some streams, small heads."""
    return HTTP2Settings(
        initial_connection_window_size=HTTP2_WINDOW_BYTES,
        initial_stream_window_size=HTTP2_WINDOW_BYTES,
        keep_alive_interval=round(ingest.head_seconds_max * 1000),
        max_concurrent_streams=HTTP2_STREAMS_MAX,
        max_headers_size=ingest.head_bytes_max,
    )
