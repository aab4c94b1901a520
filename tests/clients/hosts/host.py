"""What the host programs share: where their client sends to, what it logs, and serving until the test hangs up.

A host is a web application as a customer would have it, with Moesif's middleware in it. It is a process of its own, as
Moesif's clients keep their settings in global variables. Its arguments are the collector's URL and an application id.
"""

import json
import logging
import sys
import threading
from typing import Any

from werkzeug.serving import make_server

URL, APPLICATION_ID = sys.argv[1:3]


class _AsJson(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return json.dumps({"logger": record.name, "level": record.levelno, "message": text})


def log_as_json() -> None:
    """A line of JSON for each record, on standard error; the client's own set-up then does nothing."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_AsJson())
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def announce(port: int) -> None:
    """Tells the test where this host listens."""
    print(json.dumps({"port": port}), flush=True)


def until_hung_up() -> None:
    """Returns when the test closes standard input, or ends."""
    sys.stdin.read()


def serve(app: Any) -> None:
    """Serves a WSGI application until the test hangs up."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    announce(server.server_port)
    until_hung_up()
    server.shutdown()
