"""Runs an `EdgeGroup` over an application that answers with its process id: `python -m tests.edge.group`.

Given: a port, the number of processes, files of a certificate and its key, and a folder in which a file `die` makes
each new process end at once, a file `wait` makes it wait, with its id in `waiting`, a file `full` lets the system have
no room for another one, and the file `go` lets go of requests for `/held`.
"""

import asyncio
import errno
import logging
import os
import sys
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from granian.constants import HTTPModes, Interfaces

from catchment import edge_group
from catchment.edge.leaving import CLOSE, LEAVE, stop_accepting
from catchment.edge_group import EdgeGroup

LOOK_S = 0.05
STARTS_WITHIN_S = edge_group._STARTS_WITHIN_S
DIES_WITHIN_S = 10.0  # what a new process that ends at once may take for it on a busy machine
KILLED_AFTER_S = 150  # longer than a test waits for anything


class Telling:
    """The application."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._leaving = False

    def __rsgi_init__(self, loop: AbstractEventLoop) -> None:
        loop.add_signal_handler(LEAVE, self._leave)

    def _leave(self) -> None:
        self._leaving = True
        stop_accepting()

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        if scope.path == "/held":
            print("HELD", file=sys.stderr, flush=True)
        while scope.path == "/held" and not (self._folder / "go").exists():  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)
        protocol.response_str(200, [CLOSE] if self._leaving else [], str(os.getpid()))


def application(folder: Path) -> Any:
    if (folder / "die").exists():
        os._exit(3)
    while (folder / "wait").exists():
        (folder / "waiting").write_text(str(os.getpid()))
        time.sleep(LOOK_S)
    return Telling(folder)


def fork(folder: Path, really: Callable[[], int] = os.fork) -> int:
    edge_group._STARTS_WITHIN_S = DIES_WITHIN_S if (folder / "die").exists() else STARTS_WITHIN_S
    if (folder / "full").exists():
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return really()


def main(port: str, workers: str, cert: str, key: str, folder: str) -> None:
    logging.basicConfig(level=logging.INFO)
    os.fork = partial(fork, Path(folder))
    group = EdgeGroup(
        "telling",
        port=int(port),
        interface=Interfaces.RSGI,
        workers=int(workers),
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
        ssl_cert=Path(cert),
        ssl_key=Path(key),
        respawn_failed_workers=True,
        respawn_interval=0.1,
        workers_kill_timeout=KILLED_AFTER_S,
    )
    group.serve(target_loader=partial(application, Path(folder)), wrap_loader=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
