"""Ports for servers: free now, and not given to anybody else until a server listens there.

They lie below those that systems give out by themselves, from 32768 on, to connections and to whoever asks for any
port; and each worker of a test run has its own.
"""

import itertools
import os
import random
import socket
from collections.abc import Iterator
from contextlib import suppress

PORTS, WORKERS_MAX = range(20_000, 32_000), 16


def _ports_of_this_worker() -> Iterator[int]:
    """From somewhere on, for other test runs may go on on this machine."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    mine = PORTS[number % WORKERS_MAX :: WORKERS_MAX]
    begin = random.SystemRandom().randrange(len(mine))
    return itertools.cycle([*mine[begin:], *mine[:begin]])


_ports = _ports_of_this_worker()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has."""
    while True:
        port = next(_ports)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
