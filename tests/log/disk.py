"""A simulated disk: it keeps what was synced, and of the rest whatever does most harm.

It has the single steps of `Disk`, so the orders of steps that are tested are those of the real one. A file has two
contents, the one that programs see and the one that a power cut leaves; so has a folder, for its names. `crash` chooses
for every block and every name that was not synced whether it made it to the disk, independently of each other. A step
can be made to fail, or to be the last one of the process (`die_after`); room is limited by `capacity`.

Everything that is left to chance is drawn from `chance`, so a seed gives the same disk.
"""

import errno
import os
from collections.abc import Iterable
from pathlib import Path
from random import Random

from catchment.log.disk import AppendFile, Disk, FileInfo

BLOCK_BYTES = 4096


class Died(BaseException):
    """The process ends here, in the middle of a step; no handler of the program sees it."""


class Trusted(BaseException):
    """The program used a file again whose sync had failed; no handler of it hides that from the test."""


class _File:
    """`seen` by programs, and what a power cut leaves: `synced` with any of the `dirty` blocks."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self.synced = bytearray()
        self.safe_bytes = 0  # as of the last sync that went well
        self.sync_failed = False

    def dirty(self) -> Iterable[int]:
        """Beginnings of the blocks that differ."""
        for begin in range(0, max(len(self.seen), len(self.synced)), BLOCK_BYTES):
            end = begin + BLOCK_BYTES
            if self.seen[begin:end] != self.synced[begin:end]:
                yield begin

    def write_back(self, chance: Random) -> None:
        """Any of the dirty blocks reach the disk, one of them perhaps torn, and the size that goes with some of them;
        a block that did not, inside that size, is zeros."""
        left = self.synced
        blocks = list(self.dirty())
        if not blocks:
            return
        sizes = {len(self.synced), len(self.seen), chance.randint(0, len(self.seen))}
        size = max(self.safe_bytes, chance.choice(sorted(sizes)))
        left += bytes(max(0, size - len(left)))
        del left[size:]
        torn = chance.choice(blocks)
        for begin in blocks:
            if chance.random() < 0.5:
                block = self.seen[begin : begin + BLOCK_BYTES]
                if begin == torn:
                    block = block[: chance.randint(0, len(block))]
                left[begin : begin + len(block)] = block
        del left[size:]


class _Names:
    """A folder: its names as seen, as synced, and every state that an unsynced name has had since."""

    def __init__(self) -> None:
        self.seen: dict[str, _File | _Names] = {}
        self.synced: dict[str, _File | _Names] = {}
        self.changes: dict[str, list[_File | _Names | None]] = {}

    def put(self, name: str, node: "_File | _Names | None") -> None:
        self.changes.setdefault(name, [self.synced.get(name)]).append(node)
        _set(self.seen, name, node)

    def write_back(self, names: Iterable[str], chance: Random) -> None:
        """Any of the states that each name has had reach the disk."""
        for name in names:
            _set(self.synced, name, chance.choice(self.changes[name]))


def _set(names: "dict[str, _File | _Names]", name: str, node: "_File | _Names | None") -> None:
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node


class SimulatedDisk(Disk):
    """One machine's disk, whose processes take and lose locks on it."""

    def __init__(self, chance: Random, capacity: int = 1 << 40) -> None:
        self.chance = chance
        self.capacity = capacity
        self.removed: list[tuple[Path, bytes]] = []  # what was removed, with what it held
        self.steps = 0
        self._top = _Names()
        self._failing: dict[str, list[int]] = {}
        self._unreadable: dict[Path, set[int]] = {}
        self._dies_at: int | None = None
        self._locks: dict[int, Path] = {}
        self._lock_count = 0

    # What a test does to it

    def fail(self, step: str, code: int = errno.EIO, times: int = 1) -> None:
        """The next steps of that name fail: `append`, `sync`, `cut`, `sync_folder`, `open_new`, `rename`, `remove`,
        `read`."""
        self._failing.setdefault(step, []).extend([code] * times)

    def fail_no_more(self) -> None:
        """All steps work again, those of unreadable blocks too."""
        self._failing.clear()
        self._unreadable.clear()
        self._dies_at = None

    def die_after(self, steps: int) -> None:
        """So many steps from now, the process that makes the next one dies in it."""
        self._dies_at = self.steps + steps

    def spoil(self, path: Path, content: bytes) -> None:
        """What a failing medium makes of a synced file."""
        file = self._file(path)
        file.seen[:] = file.synced[:] = content
        file.safe_bytes = len(content)

    def make_unreadable(self, path: Path, block: int) -> None:
        """Reading any of that block fails, until `fail_no_more`."""
        self._unreadable.setdefault(path, set()).add(block)

    def keep_locks(self, folders: set[str]) -> None:
        """Only the processes that hold the locks of these folders live."""
        self._locks = {lock: path for lock, path in self._locks.items() if path.parent.name in folders}

    def crash(self) -> None:
        """The power is cut, and comes back."""
        self._dies_at = None
        self._failing.clear()
        self._locks.clear()
        self._crash(self._top)

    def content(self, path: Path) -> bytes:
        """The file as programs see it, whatever is made to fail."""
        return bytes(self._file(path).seen)

    def used(self) -> int:
        """Bytes of all files."""
        return sum(len(file.seen) for file in self._all_files(self._top))

    # Steps of `Disk`

    def folders(self, path: Path) -> list[str]:
        try:
            return sorted(name for name, node in self._names(path).seen.items() if isinstance(node, _Names))
        except FileNotFoundError:
            return []

    def files(self, path: Path) -> list[FileInfo]:
        nodes = self._names(path).seen.items()
        return sorted(FileInfo(name, len(node.seen), 0.0) for name, node in nodes if isinstance(node, _File))

    def is_folder(self, path: Path) -> bool:
        try:
            self._names(path)
        except FileNotFoundError:
            return False
        return True

    def make_name(self, path: Path) -> None:
        self._step("make_name")
        self._names(path.parent).put(path.name, _Names())

    def sync_folder(self, path: Path) -> None:
        names = self._names(path)
        try:
            self._step("sync_folder")
        except OSError:
            names.write_back(names.changes, self.chance)  # some made it
            raise
        for name in names.changes:
            _set(names.synced, name, names.seen.get(name))
        names.changes.clear()

    def open_new(self, path: Path) -> AppendFile:
        self._step("open_new")
        names = self._names(path.parent)
        if path.name in names.seen:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        file = _File()
        names.put(path.name, file)
        return _OpenFile(self, file)

    def read(self, path: Path, offset: int, size: int) -> bytes:
        self._step("read")
        data = bytes(self._file(path).seen[offset : offset + size])
        for block in self._unreadable.get(path, ()):
            if offset < (block + 1) * BLOCK_BYTES and block * BLOCK_BYTES < offset + len(data):
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return data

    def rename(self, path: Path, to: Path) -> None:
        self._step("rename")
        self._names(to.parent).put(to.name, self._file(path))
        self._names(path.parent).put(path.name, None)

    def remove(self, path: Path) -> None:
        names = self._names(path.parent)
        if path.name in names.seen:
            self._step("remove")
            self.removed.append((path, self.content(path)))
            names.put(path.name, None)

    def try_lock(self, path: Path) -> int | None:
        if path in self._locks.values():
            return None
        names = self._names(path.parent)
        if path.name not in names.seen:
            names.put(path.name, _File())
        self._lock_count += 1
        self._locks[self._lock_count] = path
        return self._lock_count

    def unlock(self, lock: int) -> None:
        self._locks.pop(lock, None)

    # What steps are made of

    def _step(self, name: str) -> None:
        self.steps += 1
        if self._dies_at is not None and self.steps >= self._dies_at:
            self._dies_at = None
            raise Died(name)
        if codes := self._failing.get(name):
            code = codes.pop(0)
            raise OSError(code, os.strerror(code))

    def _node(self, path: Path) -> "_File | _Names":
        node: _File | _Names = self._top
        for part in path.parts[1:]:
            if not isinstance(node, _Names) or part not in node.seen:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            node = node.seen[part]
        return node

    def _names(self, path: Path) -> _Names:
        node = self._node(path)
        if not isinstance(node, _Names):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        return node

    def _file(self, path: Path) -> _File:
        node = self._node(path)
        if not isinstance(node, _File):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        return node

    def _all_files(self, names: _Names) -> Iterable[_File]:
        for node in names.seen.values():
            if isinstance(node, _File):
                yield node
            else:
                yield from self._all_files(node)

    def _crash(self, names: _Names) -> None:
        names.write_back(names.changes, self.chance)
        names.changes.clear()
        names.seen = dict(names.synced)
        for node in names.seen.values():
            if isinstance(node, _Names):
                self._crash(node)
            else:
                node.write_back(self.chance)
                node.seen[:] = node.synced
                node.safe_bytes = len(node.synced)
                node.sync_failed = False


class _OpenFile:
    def __init__(self, disk: SimulatedDisk, file: _File) -> None:
        self._disk = disk
        self._file = file

    def append(self, data: bytes) -> None:
        self._distrust("written to")
        room = self._disk.capacity - self._disk.used()
        try:
            self._disk._step("append")
        except (OSError, Died):
            self._file.seen += data[: min(room, self._disk.chance.randint(0, len(data) - 1))]
            raise
        self._file.seen += data[: max(0, room)]
        if room < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self) -> None:
        self._distrust("synced")
        try:
            self._disk._step("sync")
        except OSError:
            self._file.sync_failed = True
            self._file.write_back(self._disk.chance)
            if self._disk.chance.random() < 0.5:
                self._file.seen[:] = self._file.synced  # the system dropped what it could not write
            raise
        self._file.synced[:] = self._file.seen
        self._file.safe_bytes = len(self._file.seen)

    def cut(self, size: int) -> None:
        self._distrust("cut")
        self._disk._step("cut")
        del self._file.seen[size:]

    def close(self) -> None: ...

    def _distrust(self, use: str) -> None:
        if self._file.sync_failed:
            raise Trusted(f"a file was {use} after its sync had failed")
