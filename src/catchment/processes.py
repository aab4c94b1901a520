"""The body of the core, under Uvicorn; that of the edge is in `edge_processes`.

It logs through the root logger, to standard error: what `serve` prints for a person stays alone on standard output.
"""

import logging
import math
import signal
import socket
import time
from functools import partial
from pathlib import Path
from types import FrameType

import uvicorn

from catchment import wiring
from catchment.api.shield import StrictProtocol
from catchment.certificate import follow, serving_context
from catchment.errors import CannotEver, CannotServe
from catchment.holding import CORE_LOCK, InUse, holder, refuse_beside_server
from catchment.parts import DRAIN_S, allow_many_files, exit_with_parent, let_the_edge_go_first, tell_where_it_stands
from catchment.settings import Console, Settings
from catchment.store.store import OtherVersion, StoreError

CLAIM_WITHIN_S = 20.0
_CLAIM_TOLD_AFTER_S = 2.0
_POLL_S = 0.1

logger = logging.getLogger(__name__)


def run_core(data_dir: Path, settings: Settings) -> int:
    """Runs the core until SIGTERM; what the log holds by then is loaded first. Raises `CannotEver` where starting it
    again would be of no use, and `CannotServe` and `InUse` where it may be."""
    exit_with_parent()
    allow_many_files()
    tell_where_it_stands()
    refuse_beside_server(data_dir)
    listeners = _bind(settings.console)
    _claim(data_dir)
    let_the_edge_go_first()
    signal.signal(signal.SIGTERM, _leave)  # Uvicorn gives the signal on when it is done; that is no failure
    try:
        app = wiring.core(settings, data_dir)
    except OtherVersion as error:
        raise CannotEver(f"the store fails: {error}") from None
    except StoreError as error:
        raise CannotServe(f"the store fails: {error}") from None
    kept = Path(settings.ingest.tls_cert) if settings.ingest.tls_cert else None
    context = serving_context(kept) if kept else None
    server = uvicorn.Server(
        uvicorn.Config(
            app,
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
    server.run(listeners)
    return 0 if server.started else 1


def _bind(console: Console) -> list[socket.socket]:
    """The console's port, which is this process's from now on: before the store is open, which may take long, for
    whether another program has the port is known at once. Nobody can connect until Uvicorn listens on it."""
    listeners = []
    try:
        for family, kind, _, _, address in socket.getaddrinfo(console.host, console.port, type=socket.SOCK_STREAM):
            listener = socket.socket(family, kind)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
            listeners.append(listener)
    except OSError as error:
        where = f"{console.host}:{console.port}"
        raise CannotEver(f"cannot listen on {where}: {error.strerror}; choose another with --console-port") from None
    return listeners


def _claim(data_dir: Path) -> None:
    """Waits for whoever has the store open: a command that asks it, or the core of a server that was killed."""
    began, told = time.monotonic(), False
    while not wiring.claim_core(data_dir):
        waited = time.monotonic() - began
        who = holder(data_dir / CORE_LOCK)
        if waited > CLAIM_WITHIN_S:
            raise InUse(f"{who} has the store of {data_dir} open; end it, or wait until it is done")
        if waited > _CLAIM_TOLD_AFTER_S and not told:
            logger.warning("core: waiting for the store of %s, which %s has open", data_dir, who)
            told = True
        time.sleep(_POLL_S)


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)
