"""The one module that touches the log's disk. Everything above it takes a `Disk`, so tests can hand it a bad one."""

import fcntl
import os
import sys
from pathlib import Path
from typing import NamedTuple, Protocol


class AppendFile(Protocol):
    """A file that only grows."""

    def append(self, data: bytes) -> None:
        """Writes all of `data` behind what is there."""
        ...

    def sync(self) -> None:
        """Returns once everything appended survives a power cut."""
        ...

    def close(self) -> None: ...


class FileInfo(NamedTuple):
    """A file's name, size in bytes, and time of last change in seconds since 1970."""

    name: str
    size: int
    changed_at: float


class Disk(Protocol):
    """What the log needs of a file system. All failures are `OSError`."""

    def folders(self, path: Path) -> list[str]: ...
    def files(self, path: Path) -> list[FileInfo]: ...
    def make_folder(self, path: Path) -> None: ...
    def create(self, path: Path) -> AppendFile: ...
    def read(self, path: Path, offset: int, size: int) -> bytes: ...
    def replace(self, path: Path, data: bytes) -> None: ...
    def remove(self, path: Path) -> None: ...
    def try_lock(self, path: Path) -> int | None: ...
    def unlock(self, lock: int) -> None: ...


class LocalDisk:
    """The real one."""

    def folders(self, path: Path) -> list[str]:
        """Names of the folders in `path`, sorted; none if it does not exist."""
        try:
            with os.scandir(path) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir())
        except FileNotFoundError:
            return []

    def files(self, path: Path) -> list[FileInfo]:
        """The files in `path`, sorted by name. A file that vanishes meanwhile is left out."""
        found = []
        with os.scandir(path) as entries:
            for entry in entries:
                try:
                    stat = entry.stat()
                except FileNotFoundError:
                    continue
                found.append(FileInfo(entry.name, stat.st_size, stat.st_mtime))
        return sorted(found)

    def make_folder(self, path: Path) -> None:
        """Makes the folder and those above it, durably and for the owner only."""
        if not path.is_dir():
            self.make_folder(path.parent)
            path.mkdir(exist_ok=True, mode=0o700)
            _sync_folder(path.parent)

    def create(self, path: Path) -> AppendFile:
        """A new file that survives a power cut; it must not exist."""
        file = _LocalFile(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600))
        try:
            _sync_folder(path.parent)
        except OSError:
            file.close()
            raise
        return file

    def read(self, path: Path, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`; fewer only at the end of the file."""
        with path.open("rb", buffering=0) as file:
            file.seek(offset)
            parts = []
            while size > 0 and (part := file.read(size)):
                parts.append(part)
                size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def replace(self, path: Path, data: bytes) -> None:
        """The file has either its old or its new content, whatever happens."""
        fresh = path.with_name(path.name + ".new")
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        file = _LocalFile(handle)
        try:
            file.append(data)
            file.sync()
        finally:
            file.close()
        fresh.replace(path)
        _sync_folder(path.parent)

    def remove(self, path: Path) -> None:
        """Removes the file if it is there."""
        path.unlink(missing_ok=True)

    def try_lock(self, path: Path) -> int | None:
        """A lock that this process holds until `unlock` or its death; None if another holds it."""
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        return handle

    def unlock(self, lock: int) -> None:
        """Gives a lock back."""
        os.close(lock)


class _LocalFile:
    def __init__(self, handle: int) -> None:
        self._handle = handle

    def append(self, data: bytes) -> None:
        written = os.write(self._handle, data)
        while written < len(data):
            written += os.write(self._handle, memoryview(data)[written:])

    def sync(self) -> None:
        _sync(self._handle)

    def close(self) -> None:
        os.close(self._handle)


def _sync(handle: int) -> None:
    if sys.platform == "darwin":
        fcntl.fcntl(handle, fcntl.F_FULLFSYNC)  # fsync alone stops at the drive's cache there
    else:
        os.fdatasync(handle)


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
