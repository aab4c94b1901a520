"""Memory that is taken is no fault of a line: measured with an engine that may have little of it.

A process of its own for each, since the engine's limit is set when a process opens its first store.
"""

import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from catchment.settings import MIB

PRELUDE = """
    import json, sys, threading
    from pathlib import Path
    import clickhouse_connect
    from catchment.loader import CANARY, Loader
    from catchment.log.log import Backlog, Batch
    from catchment.settings import MIB, Loader as LoaderSettings, Sql
    from catchment.store import clickhouse
    from catchment.store.clickhouse import ClickHouseStore
    from catchment.store.store import StoreError

    LIMIT = int(sys.argv[2])  # of the whole engine, as nine tenths of a machine's memory are

    class TightStore(ClickHouseStore):
        def open_handle(self):
            return clickhouse_connect.get_client(interface="chdb", path=f"{self._path}?max_server_memory_usage={LIMIT}")

    class OneBatch:
        def __init__(self, lines): self.waiting = [lines]
        def read(self, bytes_max): return Batch(self.waiting[0], None, 1) if self.waiting else None
        def commit(self, batch): self.waiting.clear()
        def tidy(self): pass

    def line(name, size):
        known = {"app": "a", "source": "moesif", "kind": "action", "event_id": name, "name": "N"}
        known |= {"received_us": 1_763_812_800_000_000, "time": "2025-11-22T11:59:58", "payload": {"text": "x" * size}}
        return json.dumps(known).encode() + b"\\n"

    store = TightStore(Path(sys.argv[1]) / "store", Sql())
    store.migrate()
    stop = threading.Event()

    def load(lines):
        log = OneBatch(lines)
        loader = Loader(log, store, LoaderSettings())
        stop.set()
        loaded = loader.step(stop)
        query = "SELECT (SELECT count() FROM events) AS events, (SELECT count() FROM rejections) AS rejections"
        progress = loader.progress
        found = {"loaded": bool(loaded), "set_aside": progress.unloadable_lines}
        found |= {"failed": progress.failed_inserts, "error": progress.last_error}
        return found | store.query(query).rows[0]
"""


class EngineCrashed(Exception):
    """It ended its process."""


def in_a_process(folder: Path, body: str, *, limit: int = 96 * MIB) -> dict[str, Any]:
    program = textwrap.dedent(PRELUDE) + textwrap.dedent(body)
    done = subprocess.run([sys.executable, "-c", program, str(folder), str(limit)], capture_output=True, timeout=120)
    if done.returncode == -signal.SIGSEGV:
        raise EngineCrashed
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_machine_without_memory_makes_no_line_a_rejection(tmp_path: Path) -> None:
    found = in_a_process(
        tmp_path,
        """
        found = load(line("large", 80 * MIB))
        store.insert(CANARY)
        print(json.dumps(found))
        """,
    )
    assert found["error"].startswith("(total) memory limit exceeded: would use ")
    assert (found["loaded"], found["set_aside"], found["rejections"]) == (False, 0, 0)


def test_what_is_too_much_for_the_memory_at_once_is_loaded_in_halves(tmp_path: Path) -> None:
    found = in_a_process(
        tmp_path,
        """
        print(json.dumps(load(b"".join(line(str(number), 1000) for number in range(60_000)))))
        """,
    )
    assert found["failed"], "it was too much at once"
    assert (found["loaded"], found["set_aside"], found["events"], found["rejections"]) == (True, 0, 60_000, 0)


def test_a_system_that_gives_no_memory_is_no_fault_of_a_line(tmp_path: Path) -> None:
    program = """
        import resource

        large = line("large", 160 * MIB)
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + 120 * MIB, -1))
        try:
            store.insert(large)
        except StoreError as error:
            resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
            print(json.dumps({"error": str(error), "passing": error.passing, "divisible": error.divisible}))
        """
    try:
        found = in_a_process(tmp_path, program, limit=1 << 40)
    except EngineCrashed:  # seen with the C library of Debian 13; a core that is killed sets nothing aside either
        pytest.skip("the engine ends its process here, where the system gives it no memory")
    assert "(CANNOT_ALLOCATE_MEMORY)" in found["error"]
    assert found["passing"]
    assert found["divisible"]


def test_the_limit_of_a_single_insert_is_no_fault_of_the_machine(tmp_path: Path) -> None:
    found = in_a_process(
        tmp_path,
        """
        clickhouse.INSERT_SETTINGS["max_memory_usage"] = 4 * MIB
        try:
            store.insert(line("1", 10 * MIB))
        except StoreError as error:
            print(json.dumps({"error": str(error), "passing": error.passing}))
        """,
    )
    assert found["error"].startswith("Query memory limit exceeded: would use ")
    assert not found["passing"]
