"""The torturer's own journal: what was sent and answered when, and which fault began and ended when.

Two files of NDJSON, for whoever looks into a run that failed; times are the torturer's own clock, in seconds since
1970. Nothing of a verdict comes from here.
"""

import json
import threading
import time
from pathlib import Path

from catchment.torture.calls import FORMS, Call, mark

CALLS_NAME, FAULTS_NAME = "calls.ndjson", "faults.ndjson"


class Notes:
    """In the folder of a run; written by any thread."""

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        self._calls = (folder / CALLS_NAME).open("w", encoding="utf-8")
        self._faults = (folder / FAULTS_NAME).open("w", encoding="utf-8", buffering=1)

    def call(self, client: int, call: Call, how: str, status: int | None, *, tries: int, begun: float) -> None:
        """One call, when it was over."""
        note = {
            "begun": round(begun, 3),
            "ended": round(time.time(), 3),
            "first": mark(client, call.first),
            "events": call.events,
            "form": FORMS[call.form].name,
            "how": how,
            "status": status,
            "tries": tries,
        }
        with self._lock:
            if not self._calls.closed:  # a client that did not end in time
                self._calls.write(json.dumps(note) + "\n")

    def fault(self, name: str, what: str, **more: object) -> None:
        """A fault: `what` is begun, ended or missed."""
        note = {"at": round(time.time(), 3), "fault": name, "what": what, **more}
        with self._lock:
            self._faults.write(json.dumps(note) + "\n")

    def close(self) -> None:
        """Writes what is left."""
        with self._lock:
            self._calls.close()
            self._faults.close()
