"""`POST /api/backup`: holds the data dir fast as it is at this moment, for `catchment backup` to copy.

It writes inside the data dir only, and names no file of the caller's. What it holds is removed by the command, or when
the core starts.
"""

from collections.abc import Callable

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from catchment.backup.manifest import BackupError
from catchment.backup.snapshot import Snapshot
from catchment.store.store import StoreError

TakeSnapshot = Callable[[], Snapshot]


async def hold(take: TakeSnapshot, _: Request) -> Response:
    """The snapshot as JSON; 503 with the reason where it cannot be taken now."""
    try:
        content, status = msgspec.json.encode(await run_in_threadpool(take)), 200
    except (BackupError, StoreError, OSError) as error:
        content, status = msgspec.json.encode({"error": f"no snapshot could be taken: {error}"}), 503
    return Response(content, status, {"cache-control": "no-store"}, "application/json")
