"""The moment that a backup holds fast: what is counted is what is frozen, whatever else works on the store.

Each store is opened in a process of its own, for one process can open one only.
"""

import json
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest

from catchment import config
from catchment.backup import making, snapshot
from catchment.backup.snapshot import COUNT_WITHIN_S, COUNTS_MAX, LOCK_NAME, NotUnderWay, Snapshot, seconds_max
from catchment.holding import hold
from catchment.log.disk import LocalDisk
from catchment.settings import Sql

OPENED = """
import json, sys, threading, time
from pathlib import Path
from catchment import config, wiring
from catchment.backup import counting, snapshot
from catchment.record import RejectionRecord, encode_lines
from catchment.store.expiry import Cutoffs, Expiry

data_dir = Path(sys.argv[1])
(data_dir / "log").mkdir()
store, log, loader = wiring.open_as_it_is(data_dir)
store.migrate()
now = int(time.time())


def refusal(number, seconds):
    return RejectionRecord(
        app="", source="", kind="rejection", event_id=f"r{number}", received_us=seconds * 1_000_000, payload="",
        method="POST", route="/", status=401, code="x", reason="no key", payload_bytes=0, edge="", tally=0,
    )


store.insert(encode_lines([refusal(n, now - 40 * 86_400 if n else now) for n in range(6)]))
real, counts = counting.count, []


def count(*arguments, **named):
    counts.append(1)
    meanwhile()
    return real(*arguments, **named)


def tell(taken, **more):
    parts = (data_dir / taken.tables["rejection_rows"]).glob("*/count.txt")
    rows = sum(int(part.read_text()) for part in parts)
    print(json.dumps({"counted": taken.counts.views["rejections"], "frozen": rows, "counts": len(counts), **more}))
    store.close()


counting.count = count
"""

RETENTION = """
removed = []
cutoffs = [Cutoffs("", "", rejections=now - 30 * 86_400)]
expiry = Expiry(store.open_handle, loader.pause)
thread = threading.Thread(target=lambda: removed.append(expiry.remove(cutoffs, threading.Event(), at=now)))


def meanwhile():
    thread.start()
    thread.join(3)  # it is over by then, unless it waits


taken = snapshot.take(store, loader, data_dir)
thread.join(60)
tell(taken, removed=removed[0].rejections, left=store.query("SELECT count() AS n FROM rejections").rows[0]["n"])
"""

CHANGED = """
letting_go = []


def meanwhile():
    if len(counts) <= TIMES:
        store._command("SYSTEM STOP MERGES catchment.rejection_rows")
        store._command("ALTER TABLE catchment.rejection_rows DELETE WHERE rejection_id = 'r%d'" % len(counts)
                       + " SETTINGS mutations_sync = 0")
        letting_go.append(threading.Timer(1, lambda: store._command("SYSTEM START MERGES catchment.rejection_rows")))
        letting_go[-1].start()


try:
    taken = snapshot.take(store, loader, data_dir)
except snapshot.BackupError as error:
    print(json.dumps({"error": str(error), "counts": len(counts)}))
    for timer in letting_go:
        timer.join()
    store.close()
else:
    tell(taken)
"""


def run(data_dir: Path, script: str) -> dict[str, Any]:
    config.ensure_file(data_dir)
    command = [sys.executable, "-c", textwrap.dedent(OPENED) + textwrap.dedent(script), str(data_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


SWEPT = """
from starlette.testclient import TestClient

store.close()
from catchment.backup import sweeping
from catchment.holding import hold
from catchment.log.disk import LocalDisk
from catchment.parts import RUN_HASH

sweeping.EVERY_S = 0.1
held = [data_dir / "log" / "snapshot_x", data_dir / "store" / "shadow" / "snapshot_x"]
lock = hold(data_dir / snapshot.LOCK_NAME)
with TestClient(wiring.core(config.load(data_dir), data_dir)):
    for folder in held:
        (folder / "inner").mkdir(parents=True)
    time.sleep(1)
    while_held = [folder.exists() for folder in held]
    LocalDisk().unlock(lock)
    deadline = time.monotonic() + 60
    while any(folder.exists() for folder in held) and time.monotonic() < deadline:
        time.sleep(0.05)
    afterwards = [folder.exists() for folder in held]
print(json.dumps({"while held": while_held, "afterwards": afterwards}))
"""


def test_what_a_killed_backup_held_is_removed_while_the_core_runs_and_that_of_a_living_one_stays(
    tmp_path: Path,
) -> None:
    assert run(tmp_path, SWEPT) == {"while held": [True, True], "afterwards": [False, False]}


def test_many_that_ask_at_once_do_not_take_each_other_for_a_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "take", lambda *_: "taken")
    (tmp_path / "log" / "snapshot_x").mkdir(parents=True)

    def ask(number: int) -> str:
        if number % 2:
            snapshot.clear_stale(tmp_path)
        try:
            return str(snapshot.take_for_command(cast(Any, None), cast(Any, None), tmp_path))
        except NotUnderWay:
            return "refused"

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(ask, range(4000))) == {"refused"}
    assert not (tmp_path / "log" / "snapshot_x").exists()


def test_whoever_waits_for_a_snapshot_waits_longer_than_the_longest_query() -> None:
    for seconds in (1.0, 30.0, 600.0):
        assert seconds_max(Sql(seconds_max=seconds)) > COUNTS_MAX * (COUNT_WITHIN_S + seconds)


def test_a_backup_waits_while_the_core_removes_what_another_left(tmp_path: Path) -> None:
    config.ensure_file(tmp_path / "data")
    lock = hold(tmp_path / "data" / LOCK_NAME)
    assert lock is not None
    threading.Timer(0.5, LocalDisk().unlock, [lock]).start()
    taken = Snapshot("snapshot_x", "", {}, {}, {}, None, None)
    making.make(tmp_path / "data", tmp_path / "backup", lambda: taken, lambda _: lambda _: None)


def test_a_removal_of_what_is_too_old_waits_until_a_backup_has_counted(tmp_path: Path) -> None:
    told = run(tmp_path, RETENTION)
    assert told == {"counted": 6, "frozen": 6, "counts": 1, "removed": 5, "left": 1}


def test_where_a_table_was_changed_while_it_was_counted_all_is_frozen_and_counted_again(tmp_path: Path) -> None:
    assert run(tmp_path, f"TIMES = 1\n{CHANGED}") == {"counted": 5, "frozen": 5, "counts": 2}


def test_where_a_table_is_changed_whenever_it_is_counted_there_is_no_backup(tmp_path: Path) -> None:
    told = run(tmp_path, f"TIMES = 99\n{CHANGED}")
    assert told == {"error": "the store was changing its tables for too long; try again later", "counts": 3}
    assert list((tmp_path / "log").glob("snapshot_*")) == []
