"""What the tests of vendors' clients share: the programs that clients run in, and a proxy that counts calls.

A program that cannot be had is looked for once: a session's fixture remembers why.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients import programs
from tests.clients.proxy import Proxy, proxy_to
from tests.conftest import Server


@pytest.fixture(scope="session")
def node() -> str:
    """Node's path."""
    return programs.node()


@pytest.fixture(scope="session")
def node_modules(node: str) -> Path:
    """The folder of Moesif's clients for Node and browsers."""
    return programs.node_modules()


@pytest.fixture(scope="session")
def chromium() -> str:
    """Chromium's path."""
    return programs.chromium()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """A proxy in front of the shared server, which nothing was sent through yet."""
    with proxy_to(server.ingest) as running:
        yield running
