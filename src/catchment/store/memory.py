"""The most memory that the engine lets this process take, known without opening a store.

The engine takes a share of what the machine has, or of what its control group is allowed, whichever is less; of the
process as a whole, so caches, inserts, merges and queries together. What would be more fails for want of memory, which
loses nothing (`failures`). A query has its own bound, `sql.memory_bytes_max`, within that.
"""

import os
from contextlib import suppress
from pathlib import Path

ENGINE_SHARE = 0.9
_GROUPS, _ROOT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def engine_bytes_max() -> int:
    """Bytes."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(min(machine, *_allowed(_GROUPS, _ROOT), machine) * ENGINE_SHARE)


def _allowed(groups: Path, root: Path) -> list[int]:
    """What this process's control group and those above it may take, of the second version; none elsewhere."""
    found = []
    with suppress(OSError):
        for line in groups.read_text().splitlines():
            if line.startswith("0::/"):
                own = root / line.removeprefix("0::/")
                for folder in (own, *own.parents):
                    if folder.is_relative_to(root):
                        found += _limit(folder / "memory.max")
    return found


def _limit(file: Path) -> list[int]:
    with suppress(OSError, ValueError):  # "max" is no number
        return [int(file.read_text())]
    return []
