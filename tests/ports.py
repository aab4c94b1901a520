"""A port for a server that cannot be told to take any: free now, and not given to anybody else until it is taken.

It lies below those that the system gives to connections and to whoever asks for any port (from 32768 on), for one of
those may be gone again before the server that it is meant for has started.
"""

import random
import socket
from contextlib import suppress

PORTS = range(20_000, 32_000)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
