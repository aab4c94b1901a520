"""Who notices what a full disk did to the engine, and what follows."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from catchment.store.parts import Part, Parts, PartsWatch

MERGED = Part(Path("abc/all_1_2_1"), "event_rows", 1000)


class Told:
    """Parts as a test tells them."""

    def __init__(self) -> None:
        self.found: list[Part] = []
        self.replaced = True
        self.fails = False
        self.closed = False

    def broken(self) -> list[Part]:
        if self.fails:
            raise OSError("no answer")
        return list(self.found)

    def accept(self, parts: list[Part]) -> None:
        self.found = [part for part in self.found if part not in parts]

    def has_replaced(self, part: Part) -> bool:
        return self.replaced

    def close(self) -> None:
        self.closed = True


def watch(parts: Any, ended: list[bool]) -> PartsWatch:
    return PartsWatch(cast("Parts", parts), lambda: ended.append(True))


def test_a_process_with_a_broken_part_ends(caplog: pytest.LogCaptureFixture) -> None:
    parts, ended = Told(), list[bool]()
    looks = watch(parts, ended)
    assert looks.look(first=True)
    assert looks.look()
    assert not ended
    parts.found.append(MERGED)
    looks.look()
    assert ended == [True]
    assert "event_rows all_1_2_1" in caplog.text


def test_the_first_look_ends_it_for_what_a_merge_replaced_that_is_still_there() -> None:
    parts, ended = Told(), list[bool]()
    parts.found.append(MERGED)
    watch(parts, ended).look(first=True)
    assert ended == [True]


def test_what_opening_the_store_did_not_mend_is_told_and_ends_no_process(caplog: pytest.LogCaptureFixture) -> None:
    parts, ended = Told(), list[bool]()
    parts.found.append(MERGED)
    parts.replaced = False
    looks = watch(parts, ended)
    for first in (True, False, False):
        looks.look(first=first)
    assert not ended
    assert caplog.text.count("event_rows all_1_2_1 is damaged on the disk") == 1


def test_a_store_that_cannot_tell_now_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    parts, ended = Told(), list[bool]()
    parts.fails = True
    looks = watch(parts, ended)
    assert not looks.look(first=True)
    assert "no answer" in caplog.text
    parts.fails = False
    assert looks.look(first=True)


def test_it_looks_until_it_is_closed() -> None:
    parts, ended = Told(), list[bool]()
    looks = watch(parts, ended)
    looks.start()
    looks.close()
    assert parts.closed
    assert not any(thread.name == "parts-watch" for thread in threading.enumerate())


OPENED = """
import os, sys, threading, time
from functools import partial
from pathlib import Path
from catchment.settings import MIB, Sql
from catchment.store.clickhouse import ClickHouseStore
from tests.store.contract import event, lines

store = ClickHouseStore(Path(sys.argv[1]), Sql(seconds_max=600, rows_max=1000, memory_bytes_max=64 * MIB))
store.migrate()
"""
BREAKS = """
store._command("SYSTEM STOP MERGES")
for name in ("first", "second"):
    store.insert(lines(event(name)))
slow = "SELECT sum(sleepEachRow(0.2)) FROM numbers(1000) SETTINGS max_block_size = 1"
handle = store.open_handle()
threading.Thread(target=partial(handle.command, slow), daemon=True).start()
store._command("SYSTEM START MERGES")
store._command("OPTIMIZE TABLE catchment.event_rows FINAL")
[merged] = store._text(store._writer, "SELECT path FROM system.parts WHERE table = 'event_rows' AND active", {}).split()
for file in Path(merged).iterdir():  # as a full disk leaves it
    os.truncate(file, 0)
store.watch_parts(partial(os._exit, 17))
time.sleep(300)
"""
TELLS = """
print([row["event_id"] for row in store.query("SELECT event_id FROM events ORDER BY event_id").rows])
store.close()
"""


def test_a_broken_merge_ends_the_process_at_once_whatever_runs_and_opening_again_brings_all_back(
    tmp_path: Path,
) -> None:
    def run(code: str, expected: int) -> str:
        command = [sys.executable, "-c", OPENED + code, str(tmp_path / "store")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == expected, done.stderr
        return done.stdout

    run(BREAKS, 17)
    assert run(TELLS, 0) == "['first', 'second']\n"


WATCHED = """
import sys
from pathlib import Path
from catchment import config, wiring
from catchment.store.clickhouse import ClickHouseStore

def migrate(store):
    assert store._watch._thread.is_alive()
    raise RuntimeError("a migration that fails")

ClickHouseStore.migrate = migrate
config.ensure_file(Path(sys.argv[1]))
try:
    wiring.open_store(config.load(Path(sys.argv[1])), Path(sys.argv[1]), give_up=lambda: None)
except RuntimeError as error:
    sys.exit(f"told: {error}")
"""


def test_the_parts_are_watched_while_a_store_is_migrated_and_no_longer_where_that_fails(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WATCHED, str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (1, "told: a migration that fails\n")
