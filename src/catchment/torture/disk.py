"""The disk that the server under torture lives on, and how it becomes full.

Where this machine allows it, that is a file system in memory of a limited size, mounted in a mount namespace of this
process's own: nobody else sees it, and it is gone with the last process of the run, however that ends. To fill it, it
is made as small as what it holds; so a full disk costs no memory. Elsewhere the writes of the log are made to fail as
on a full disk, in part, and the store's disk never is.
"""

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from catchment.torture.control import Control, Dial

NAMESPACE = "CATCHMENT_TORTURE_NAMESPACE"  # set in the environment of a process that may mount for itself
MIB = 1024 * 1024
_SLACK_BYTES = 256 * 1024
_TRIES = 20


class TortureDisk(Protocol):
    """`path` is the folder for the data dir; `how` says in a few words how it becomes full."""

    path: Path
    how: str

    def fill(self) -> bool:
        """Whether there is no room from now on."""
        ...

    def empty(self) -> None:
        """There is room again."""
        ...

    def keep(self, folder: Path) -> None:
        """Sees to it that what is on it is found in `folder` after the run."""
        ...

    def close(self) -> None:
        """There is no such disk any more; nothing may run on it."""
        ...


class LimitedDisk:
    """A file system in memory of `size_bytes`, mounted at `path`, which must be an empty folder."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.path = path
        self.how = f"a file system of {size_bytes // MIB:,} MiB, filled"
        self._size_bytes = size_bytes
        _mount("-t", "tmpfs", "-o", f"size={size_bytes},mode=700", "catchment-torture", str(path))

    def fill(self) -> bool:
        """See `TortureDisk.fill`. The server may write meanwhile, so that it fits only after some tries."""
        for _ in range(_TRIES):
            used = self._size_bytes - shutil.disk_usage(self.path).free
            with suppress(subprocess.CalledProcessError):
                self._resize(used + _SLACK_BYTES)
                return True
            time.sleep(0.01)
        return False

    def empty(self) -> None:
        """See `TortureDisk.empty`."""
        self._resize(self._size_bytes)

    def keep(self, folder: Path) -> None:
        """See `TortureDisk.keep`."""
        shutil.copytree(self.path, folder, dirs_exist_ok=True, ignore_dangling_symlinks=True)

    def close(self) -> None:
        """See `TortureDisk.close`."""
        command = ["umount", "-l", str(self.path)]  # at once, also where a process is not quite gone yet
        with suppress(subprocess.CalledProcessError):
            subprocess.run(command, capture_output=True, check=True)  # noqa: S603

    def _resize(self, size_bytes: int) -> None:
        _mount("-o", f"remount,size={size_bytes}", str(self.path))


class PretendedDisk:
    """The machine's own disk, on which the log's writes fail while it is to be full."""

    how = "writes of the log that fail as on a full disk"

    def __init__(self, path: Path, control: Control) -> None:
        self.path = path
        self._control = control

    def fill(self) -> bool:
        """See `TortureDisk.fill`."""
        self._control[Dial.WRITE_ERROR] = errno.ENOSPC
        return True

    def empty(self) -> None:
        """See `TortureDisk.empty`."""
        self._control[Dial.WRITE_ERROR] = 0

    def keep(self, folder: Path) -> None:
        """See `TortureDisk.keep`."""
        self.path.rename(folder)

    def close(self) -> None:
        """See `TortureDisk.close`."""


def enter_namespace(arguments: Sequence[str]) -> None:
    """Starts this very process anew, as `python -m catchment` with these arguments, in a namespace in which it may
    mount; returns where it is there already, or where the machine does not allow it."""
    unshare = shutil.which("unshare")
    if NAMESPACE in os.environ or sys.platform != "linux" or unshare is None:
        return
    command = [unshare, "-m"] if os.geteuid() == 0 else [unshare, "-rm"]
    try:
        allowed = subprocess.run([*command, "true"], capture_output=True, check=False)  # noqa: S603
    except OSError:
        return
    if allowed.returncode == 0:
        program = [*command, "--", sys.executable, "-m", "catchment", *arguments]
        os.execve(unshare, program, os.environ | {NAMESPACE: "1"})  # noqa: S606


def open_disk(folder: Path, size_bytes: int, control: Control) -> TortureDisk:
    """The best disk that this process can have; its path is below `folder`."""
    path = folder / "disk"
    path.mkdir(mode=0o700)
    if NAMESPACE in os.environ:
        with suppress(OSError, subprocess.CalledProcessError):
            return LimitedDisk(path, size_bytes)
    return PretendedDisk(path, control)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], capture_output=True, check=True)  # noqa: S603, S607
