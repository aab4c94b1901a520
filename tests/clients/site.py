"""A web site on a port of its own, so that its pages call Catchment across origins: files, Node's modules, and an API.

`/api/...` answers every call with what it was sent.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from tests.clients.programs import NODE_DIR


@contextmanager
def site_of(folder: Path) -> Iterator[str]:
    """Serves a folder, with `node_modules` in it, for the time of the block; gives its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


class _Handler(SimpleHTTPRequestHandler):
    def translate_path(self, path: str) -> str:
        if path.startswith("/node_modules/"):
            return str(NODE_DIR / urlsplit(path).path.lstrip("/"))
        return super().translate_path(path)

    def do_GET(self) -> None:
        if self.path.startswith("/api/"):
            self._answer()
        else:
            super().do_GET()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        answer = json.dumps({"path": self.path, "sent": json.loads(body) if body else None}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""
