"""`POST /api/backup`: holds the data dir fast as it is at this moment, for `catchment backup` to copy.

It writes inside the data dir only, and names no file of the caller's. It is for a command that holds the lock of
backups, and removes what was held; of one that was killed, `backup/sweeping.py` does.
"""

from collections.abc import Callable

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from catchment.backup.manifest import BackupError
from catchment.backup.snapshot import NotUnderWay, Snapshot
from catchment.store.store import StoreError

TakeSnapshot = Callable[[], Snapshot]


async def hold(take: TakeSnapshot, _: Request) -> Response:
    """The snapshot as JSON; 409 where no command makes a backup, 503 with the reason where it cannot be taken now."""
    try:
        content, status = msgspec.json.encode(await run_in_threadpool(take)), 200
    except NotUnderWay as error:
        content, status = msgspec.json.encode({"error": str(error)}), 409
    except (BackupError, StoreError, OSError) as error:
        content, status = msgspec.json.encode({"error": f"no snapshot could be taken: {error}"}), 503
    return Response(content, status, {"cache-control": "no-store"}, "application/json")
