"""What every request to the core gets around it: an id in the answer, and a line in the log where it met a defect.

The id is the client's where that is well formed, as at the edge; else one is made.
"""

import logging
from collections.abc import MutableMapping
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from catchment.telemetry import logs, request_ids

ID_HEADER = request_ids.HEADER.encode()

logger = logging.getLogger(__name__)


def watched(app: ASGIApp) -> ASGIApp:
    """The application with that around it. An exception that it could not handle ends here: it was answered 500."""
    ids = request_ids.RequestIds()

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == ID_HEADER), b"")
        request_id = request_ids.well_formed(given.decode("latin-1")) or ids.new()

        async def send_with_id(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (ID_HEADER, request_id.encode())]
            await send(message)

        try:
            await app(scope, receive, send_with_id)
        except Exception as error:
            told = {"request_id": request_id}
            logger.error("core: defect while answering: %s", logs.described(error), extra=told)
            logger.debug("core: the traceback of that defect", exc_info=error, extra=told)

    return call
