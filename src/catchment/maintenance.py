"""Maintenance: while it is on, the edge accepts nothing and says so, and whatever was accepted before goes its way.

It is on while its file stands in the data dir, so it outlives a restart, and can be turned on and off while nothing
runs. `catchment maintenance` writes the file; each edge process looks at it when it starts and once a second.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from catchment.log.disk import LocalDisk

FILE_NAME = "maintenance.json"
REASON_CHARS_MAX = 200


class Maintenance(NamedTuple):
    """Since when (ISO 8601 in UTC) it is on, and why: what somebody gave as the reason, or `""`."""

    since: str
    reason: str


def state(data_dir: Path) -> Maintenance | None:
    """None where it is off. A file that cannot be read as it should be is there all the same, so it is on."""
    try:
        text = (data_dir / FILE_NAME).read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return Maintenance("", "")
    try:
        found = json.loads(text)
        return Maintenance(str(found["since"]), str(found["reason"]))
    except (ValueError, KeyError, TypeError):
        return Maintenance("", "")


def begin(data_dir: Path, reason: str) -> Maintenance:
    """Turns it on; where it is on already, only the reason changes, if one is given."""
    before = state(data_dir)
    since = before.since if before else ""
    begun = Maintenance(
        since or f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        reason[:REASON_CHARS_MAX] or (before.reason if before else ""),
    )
    LocalDisk().replace(data_dir / FILE_NAME, json.dumps(begun._asdict()).encode())
    return begun


def end(data_dir: Path) -> None:
    """Turns it off, if it is on."""
    LocalDisk().remove(data_dir / FILE_NAME)


class MaintenanceWatch:
    """What one process knows of it: `on`, as of the last look."""

    def __init__(self, data_dir: Path) -> None:
        self._file = data_dir / FILE_NAME
        self.on = False
        self.look()

    def look(self) -> bool:
        """Looks whether the file is there; whether that has changed. One that nobody can tell of changes nothing."""
        before = self.on
        try:
            self._file.stat()
            self.on = True
        except FileNotFoundError:
            self.on = False
        except OSError:
            return False
        return self.on != before
