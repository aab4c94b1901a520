"""The one module that touches the log's disk. Everything above it takes a `Disk`, so tests can hand it a bad one.

A `Disk` is a few single steps, each of which a power cut or a fault may follow, and on top of them, once for every
disk, the ways to put them in order so that a name or a content is durable. The order is what tests try to break: the
simulated disk (tests/log/disk.py) has steps of its own and the same orders.
"""

import fcntl
import os
import shutil
import sys
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol


class AppendFile(Protocol):
    """A file that only grows, but for `cut`."""

    def append(self, data: bytes) -> None:
        """Writes all of `data` behind what is there; when it fails, the file may have less than all of it."""
        ...

    def sync(self) -> None:
        """Returns once everything appended survives a power cut. After it failed, nothing that was appended can be
        trusted, and a later success says nothing about it."""
        ...

    def cut(self, size: int) -> None:
        """Takes away what stands behind `size` bytes."""
        ...

    def close(self) -> None: ...


class FileInfo(NamedTuple):
    """A file's name, size in bytes, and time of last change in seconds since 1970."""

    name: str
    size: int
    changed_at: float


class Disk(ABC):
    """What the log needs of a file system. All failures are `OSError`."""

    # The ways, in their order of steps

    def make_folder(self, path: Path) -> None:
        """Makes the folder and those above it, durably and for the owner only.

        A folder that is there already may be one whose name could not be synced when it was made, so that is done
        again: without its name, whatever is synced inside would be lost.
        """
        if not self.is_folder(path):
            if not self.is_folder(path.parent):
                self.make_folder(path.parent)
            self.make_name(path)
        self.sync_folder(path.parent)

    def create(self, path: Path) -> AppendFile:
        """A new file whose name survives a power cut; it must not exist. If that fails, there is none."""
        file = self.open_new(path)
        try:
            self.sync_folder(path.parent)
        except OSError:
            file.close()
            with suppress(OSError):
                self.remove(path)
            raise
        return file

    def replace(self, path: Path, data: bytes) -> None:
        """The file has either its old or its new content, whatever happens.

        What an earlier try left is removed, not written again: a file whose sync failed is never trusted.
        """
        fresh = path.with_name(path.name + ".new")
        self.remove(fresh)
        file = self.open_new(fresh)
        try:
            file.append(data)
            file.sync()
        finally:
            file.close()
        self.rename(fresh, path)
        self.sync_folder(path.parent)

    def free_bytes(self, path: Path) -> int:
        """Bytes that are free for us on the disk that `path` is on."""
        return shutil.disk_usage(path).free

    # The steps

    @abstractmethod
    def folders(self, path: Path) -> list[str]:
        """Names of the folders in `path`, sorted; none if it does not exist."""

    @abstractmethod
    def files(self, path: Path) -> list[FileInfo]:
        """The files in `path`, sorted by name. A file that vanishes meanwhile is left out."""

    @abstractmethod
    def is_folder(self, path: Path) -> bool: ...

    @abstractmethod
    def make_name(self, path: Path) -> None:
        """Makes one folder, unless it is there; its name is not yet durable."""

    @abstractmethod
    def sync_folder(self, path: Path) -> None:
        """Makes the names in the folder durable."""

    @abstractmethod
    def open_new(self, path: Path) -> AppendFile:
        """A new file, whose name is not yet durable; it must not exist."""

    @abstractmethod
    def read(self, path: Path, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`; fewer only at the end of the file."""

    @abstractmethod
    def rename(self, path: Path, to: Path) -> None:
        """Puts the file in the place of another, at once for everyone; not yet durable."""

    @abstractmethod
    def remove(self, path: Path) -> None:
        """Removes the file if it is there; a power cut may bring it back."""

    @abstractmethod
    def try_lock(self, path: Path) -> int | None:
        """A lock that this process holds until `unlock` or its death; None if another holds it."""

    @abstractmethod
    def unlock(self, lock: int) -> None:
        """Gives a lock back."""


class LocalDisk(Disk):
    """The real one."""

    def folders(self, path: Path) -> list[str]:
        try:
            with os.scandir(path) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir())
        except FileNotFoundError:
            return []

    def files(self, path: Path) -> list[FileInfo]:
        found = []
        with os.scandir(path) as entries:
            for entry in entries:
                try:
                    stat = entry.stat()
                except FileNotFoundError:
                    continue
                found.append(FileInfo(entry.name, stat.st_size, stat.st_mtime))
        return sorted(found)

    def is_folder(self, path: Path) -> bool:
        return path.is_dir()

    def make_name(self, path: Path) -> None:
        path.mkdir(exist_ok=True, mode=0o700)

    def sync_folder(self, path: Path) -> None:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def open_new(self, path: Path) -> AppendFile:
        return _LocalFile(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600))

    def read(self, path: Path, offset: int, size: int) -> bytes:
        with path.open("rb", buffering=0) as file:
            file.seek(offset)
            parts = []
            while size > 0 and (part := file.read(size)):
                parts.append(part)
                size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def rename(self, path: Path, to: Path) -> None:
        path.replace(to)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def try_lock(self, path: Path) -> int | None:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        return handle

    def unlock(self, lock: int) -> None:
        os.close(lock)


class _LocalFile:
    def __init__(self, handle: int) -> None:
        self._handle = handle

    def append(self, data: bytes) -> None:
        written = os.write(self._handle, data)
        while written < len(data):
            written += os.write(self._handle, memoryview(data)[written:])

    def sync(self) -> None:
        if sys.platform == "darwin":
            fcntl.fcntl(self._handle, fcntl.F_FULLFSYNC)  # fsync alone stops at the drive's cache there
        else:
            os.fdatasync(self._handle)

    def cut(self, size: int) -> None:
        os.ftruncate(self._handle, size)

    def close(self) -> None:
        with suppress(OSError):  # what counts was told by `sync`; the handle is gone in any case
            os.close(self._handle)
