"""The same HTTP server answering a constant: what Catchment's own work is measured against."""

import sys
from typing import Any

from granian import Granian
from granian.constants import Interfaces, Loops
from granian.log import LogLevels


class Bare:
    """Reads the body and answers 201."""

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        await protocol()
        protocol.response_bytes(201, [("content-type", "application/json")], b"{}")


def load() -> Any:
    """The application."""
    return Bare()


if __name__ == "__main__":
    Granian(
        "bare",
        port=int(sys.argv[1]),
        interface=Interfaces.RSGI,
        workers=int(sys.argv[2]),
        loop=Loops.uvloop,
        websockets=False,
        log_level=LogLevels.warning,
    ).serve(target_loader=load, wrap_loader=False)
