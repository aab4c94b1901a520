"""Locks of a data dir that tell who has them: the process is written into the file.

The lock is what counts: it goes with its process, however that ends, and what a dead one wrote into the file says
nothing.
"""

import os
from contextlib import suppress
from pathlib import Path

from catchment.errors import Cannot
from catchment.log.disk import LocalDisk
from catchment.parts import PARENT_PID

SERVE_LOCK = "serve.lock"
CORE_LOCK = "core.lock"
_BYTES_MAX = 32


class InUse(Cannot):
    """Somebody else has the data dir; the text says who, and what to do."""


def hold(path: Path) -> int | None:
    """The lock, until `LocalDisk.unlock` or the end of this process; None if another has it."""
    lock = LocalDisk().try_lock(path)
    if lock is not None:
        with suppress(OSError):  # a full disk costs the number only
            os.ftruncate(lock, 0)
            os.pwrite(lock, b"%d\n" % os.getpid(), 0)
    return lock


def holder(path: Path) -> str:
    """`process 4711`, for whoever has the lock now."""
    try:
        written = path.read_bytes()[:_BYTES_MAX].decode("ascii", "replace").strip()
    except OSError:
        written = ""
    return f"process {written or 'unknown'}"


def refuse_beside_server(data_dir: Path) -> None:
    """For a part that was started by hand: raises `InUse` where a server with parts of its own has the data dir."""
    if PARENT_PID in os.environ:
        return
    with suppress(FileNotFoundError):
        lock = LocalDisk().try_lock(data_dir / SERVE_LOCK)
        if lock is None:
            raise InUse(
                f"{data_dir} is in use by a running Catchment ({holder(data_dir / SERVE_LOCK)}), which has its own"
                " parts; stop it, or choose another --data-dir"
            )
        LocalDisk().unlock(lock)
