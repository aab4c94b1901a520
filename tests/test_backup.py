"""`catchment backup` and `restore`: all that was acknowledged is in it, and nothing half is ever taken for whole.

What the books say of a restored data dir is looked at by `restore` itself; here it is asked for a second time with SQL.
"""

import asyncio
import itertools
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from catchment import config
from catchment.backup import making, manifest
from catchment.backup.manifest import BackupError
from catchment.backup.snapshot import LOCK_NAME, Snapshot
from catchment.backup.sweeping import EVERY_S
from catchment.holding import hold
from catchment.log.disk import LocalDisk
from catchment.log.segment import group, header
from catchment.log.writer import SegmentWriter
from catchment.settings import Log
from tests.conftest import AppOf, Server, catchment, until, write_apps
from tests.test_crash import Client
from tests.test_docs import DOCS, blocks

WITHIN_S = 120.0
SWEPT_WITHIN_S = 3 * EVERY_S
SEED = 20261122
ALL_EVENTS = "SELECT event_id FROM events"
DIFFERENCE = "SELECT sum(abs(difference)) AS off FROM ledger"
ACTION = {"action_name": "A", "request": {"uri": "https://x/y"}}


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with some events, profiles and refusals of each vendor."""
    data_dir = tmp_path_factory.mktemp("busy")
    write_apps(data_dir, ["default"])
    server = Server(data_dir, "--workers", "2")
    app = AppOf(server, "default")
    actions = [ACTION | {"transaction_id": f"first-{n}", "user_id": f"u{n % 9}"} for n in range(500)]
    assert app.moesif("/v1/actions/batch", actions).status_code == 201
    assert app.moesif("/v1/users", {"user_id": "u1", "metadata": {"plan": "x"}}).status_code == 201
    assert app.moesif("/v1/actions", {"action_name": 1}).status_code == 400
    event = {"events": [{"name": "ue.left"}]}
    assert app.post(f"{app.batch_path}/u1", event, app.batch_headers).status_code == 201
    server.rows_when(501, ALL_EVENTS)
    yield server
    assert server.stop() == 0


@pytest.fixture(scope="module")
def backup(busy: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole backup of it."""
    target = tmp_path_factory.mktemp("backups") / "whole"
    catchment("backup", str(target), data_dir=busy.data_dir)
    return target


@pytest.fixture
def copied(backup: Path, tmp_path: Path) -> Path:
    """A copy of the backup, to be damaged."""
    return Path(shutil.copytree(backup, tmp_path / "copied"))


def verified(target: Path, code: int = 0) -> str:
    command = [sys.executable, "-m", "catchment", "backup", "verify", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr if code else done.stdout


def rows(data_dir: Path, query: str) -> list[dict[str, Any]]:
    many = {"CATCHMENT_SQL__ROWS_MAX": "10000000"}
    told = catchment("sql", query, "--format", "json", data_dir=data_dir, environment=many)
    found: list[dict[str, Any]] = json.loads(told)
    return found


def log_to(data_dir: Path, lines: list[dict[str, Any]]) -> None:
    """Appends to the log as an edge process does, with nobody to load it."""

    async def append() -> None:
        writer = SegmentWriter(LocalDisk(), data_dir / "log", Log(), loop=asyncio.get_running_loop())
        for line in lines:
            await writer.append(json.dumps(line).encode() + b"\n")
        await writer.close()

    asyncio.run(append())


def line(number: int, tally: int) -> dict[str, Any]:
    return {
        "app": "default",
        "source": "moesif",
        "kind": "action",
        "event_id": f"logged-{number}",
        "received_us": 1_772_445_600_000_000 + number,
        "payload": {},
        "name": "A",
        "time": "2026-03-02T10:00:00Z",
        "undated": True,
        "edge": "test",
        "tally": tally,
    }


def snapshots(data_dir: Path) -> list[Path]:
    return [path for where in ("log", "store/shadow") for path in (data_dir / where).glob("snapshot*")]


def no_snapshot_is_left(server: Server) -> None:
    """The core may be taking one at the very moment when a command is killed; it sweeps that away itself."""
    until(lambda: snapshots(server.data_dir) == [], within_s=SWEPT_WITHIN_S)


def fake_snapshot(data_dir: Path) -> Snapshot:
    """What a store without tables gives, and a log without segments."""
    return Snapshot("snapshot_x", "", {}, {}, {}, None, None)


def quiet(_: int) -> manifest.Advance:
    return lambda _: None


class TestOfARunningServer:
    def test_all_that_was_acknowledged_before_is_in_it_and_its_books_balance(self, tmp_path: Path) -> None:
        write_apps(tmp_path / "data", ["default"])
        server = Server(tmp_path / "data", "--workers", "2")
        done = threading.Event()
        clients = [Client(number, server, done) for number in range(2)]
        for client in clients:
            client.start()

        def acknowledged() -> set[str]:
            return set().union(*(set(client.acknowledged) for client in clients))

        kept = []
        for number in range(2):
            goal = len(acknowledged()) + 300
            until(lambda goal=goal: len(acknowledged()) > goal, within_s=WITHIN_S)  # type: ignore[misc]
            kept.append(acknowledged())
            catchment("backup", str(tmp_path / f"backup-{number}"), data_dir=server.data_dir)
        goal = len(acknowledged()) + 100
        until(lambda: len(acknowledged()) > goal, within_s=WITHIN_S)  # the server goes on
        done.set()
        for client in clients:
            client.join(WITHIN_S)
        sent = set().union(*(client.sent for client in clients))
        assert snapshots(server.data_dir) == []
        assert server.stop() == 0
        for number, before in enumerate(kept):
            restored = tmp_path / f"restored-{number}"
            catchment("restore", str(tmp_path / f"backup-{number}"), data_dir=restored)
            found = [row["event_id"] for row in rows(restored, ALL_EVENTS)]
            assert before <= set(found) <= sent
            assert len(found) == len(set(found))
            assert rows(restored, DIFFERENCE) == [{"off": 0}]

    def test_a_restored_server_goes_on_where_the_other_was(self, busy: Server, tmp_path: Path) -> None:
        app = AppOf(busy, "default")
        call = {"events": [{"name": "ue.joined"}]}
        key = {"Idempotency-Key": "the-same"}
        first = app.post(f"{app.batch_path}/u7", call, app.batch_headers | key)
        assert first.status_code == 201
        catchment("backup", str(tmp_path / "backup"), data_dir=busy.data_dir)
        told = catchment("restore", str(tmp_path / "backup"), "--format", "json", data_dir=tmp_path / "new")
        figures = {one["what"]: one for one in json.loads(told)}
        assert figures["ledger: difference"]["restored"] == 0
        assert figures["rows of the view users"]["restored"] >= 1
        server = Server(tmp_path / "new")
        try:
            again = AppOf(server, "default").post(f"{app.batch_path}/u7", call, app.batch_headers | key)
            assert (again.status_code, again.json()) == (201, first.json())
            assert AppOf(server, "default").moesif("/v1/actions", ACTION | {"user_id": "new"}).status_code == 201
            server.rows_when(1, "SELECT 1 FROM events WHERE user_id = 'new'")
            server.rows_when(1, "SELECT 1 FROM events WHERE name = 'ue.joined'")
            server.rows_when(1, "SELECT 1 FROM rejections")
            server.rows_when(1, "SELECT 1 FROM users WHERE user_id = 'u1' AND toString(profile.metadata.plan) = 'x'")
        finally:
            assert server.stop() == 0

    def test_what_it_makes_is_for_its_owner_only_and_checked_by_coreutils(self, backup: Path) -> None:
        assert backup.stat().st_mode & 0o077 == 0
        assert [path for path in backup.rglob("*") if path.is_file() and path.stat().st_mode & 0o077] == []
        done = subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=backup, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "")
        assert "is sound" in verified(backup)

    def test_a_core_that_dies_meanwhile_costs_nothing(self, busy: Server, tmp_path: Path) -> None:
        def take_and_kill() -> Snapshot:
            taken = msgspec.convert(busy.api.post("/api/backup").json(), Snapshot)
            [core] = busy.parts("core")
            os.kill(core, signal.SIGKILL)

            def again() -> bool:
                with suppress(httpx.TransportError):
                    return busy.api.get("/health/live").status_code == 200 and busy.parts("core") != [core]
                return False

            until(again, within_s=WITHIN_S)  # a core that starts removes what no backup holds
            return taken

        making.make(busy.data_dir, tmp_path / "backup", take_and_kill, quiet)
        assert "is sound" in verified(tmp_path / "backup")

    def test_without_the_token_no_snapshot_is_taken(self, busy: Server) -> None:
        assert busy.http.post(busy.console + "/api/backup").status_code == 401
        assert snapshots(busy.data_dir) == []

    def test_where_no_command_makes_a_backup_no_snapshot_is_taken(self, busy: Server) -> None:
        answer = busy.api.post("/api/backup")
        assert answer.status_code == 409
        assert answer.json()["error"].startswith("no backup is under way; `catchment backup DIRECTORY` makes one")
        assert snapshots(busy.data_dir) == []


class TestOfAStoppedServer:
    @pytest.fixture
    def stopped(self, tmp_path: Path) -> Path:
        """A data dir of which nothing was loaded."""
        data_dir = tmp_path / "data"
        config.ensure_file(data_dir)
        log_to(data_dir, [line(number, number + 1) for number in range(50)])
        return data_dir

    def test_what_was_not_loaded_yet_is_in_it(self, stopped: Path, tmp_path: Path) -> None:
        catchment("backup", str(tmp_path / "backup"), data_dir=stopped)
        assert manifest.read(tmp_path / "backup").tables == {}
        catchment("restore", str(tmp_path / "backup"), data_dir=tmp_path / "new")
        assert len(rows(tmp_path / "new", ALL_EVENTS)) == 50
        assert rows(tmp_path / "new", "SELECT sum(received) AS n FROM ledger") == [{"n": 50}]

    def test_of_the_segment_that_is_written_only_whole_groups_are_taken(self, stopped: Path, tmp_path: Path) -> None:
        segment = stopped / "log" / "edge-0" / "000000000002.ndjson"
        whole = header("edge-0", 2) + group(json.dumps(line(50, 51)).encode() + b"\n")
        segment.write_bytes(whole + group(json.dumps(line(51, 52)).encode() + b"\n")[:-7])
        catchment("backup", str(tmp_path / "backup"), data_dir=stopped)
        assert (tmp_path / "backup" / "log" / "edge-0" / segment.name).read_bytes() == whole
        catchment("restore", str(tmp_path / "backup"), data_dir=tmp_path / "new")
        assert len(rows(tmp_path / "new", ALL_EVENTS)) == 51

    def test_a_damaged_group_is_taken_along_so_that_it_is_still_told(self, stopped: Path, tmp_path: Path) -> None:
        [segment] = (stopped / "log" / "edge-0").glob("*.ndjson")
        damaged = segment.read_bytes().replace(b"logged-7", b"logged-X")
        segment.write_bytes(damaged)
        catchment("backup", str(tmp_path / "backup"), data_dir=stopped)
        assert (tmp_path / "backup" / "log" / "edge-0" / segment.name).read_bytes() == damaged

    def test_a_backup_of_which_a_folder_of_the_log_cannot_be_read_is_not_restored_in_part(
        self, stopped: Path, tmp_path: Path
    ) -> None:
        later = stopped / "log" / "edge-1" / "000000000001.ndjson"
        later.parent.mkdir()
        later.write_bytes(group(b'{"segment":{"version":2,"writer":"edge-1","sequence":1}}\n'))
        catchment("backup", str(tmp_path / "backup"), data_dir=stopped)
        told = catchment("restore", str(tmp_path / "backup"), data_dir=tmp_path / "new", code=1)
        assert "the log could not be loaded, so nothing was kept: " in told
        assert "install that version" in told
        assert not (tmp_path / "new").exists()

    def test_groups_of_any_size_are_copied_whole(self, tmp_path: Path) -> None:
        chance = random.Random(SEED)
        sizes = [10, 100, manifest.PIECE_BYTES * 3, 5, manifest.PIECE_BYTES, 20]
        whole = b"".join(group(b'{"app":"%s"}\n' % chance.randbytes(size).hex().encode()) for size in sizes)
        for cut in (len(whole), len(whole) - 1, len(whole) - 60, manifest.PIECE_BYTES):
            (tmp_path / "segment").write_bytes(whole[:cut])
            source = making._Source(tmp_path / "segment", "", cut, newest=True)
            copied = b"".join(making._whole_groups(source))
            ends = list(itertools.accumulate(len(part) for part in _groups(whole)))
            assert copied == whole[: max([end for end in ends if end <= cut], default=0)]

    def test_an_answer_that_is_remembered_while_it_is_made_is_not_in_it(self, tmp_path: Path) -> None:
        # Its records may not be in the log that the backup has, and a call that is sent again would be lost.
        data_dir = tmp_path / "data"
        config.ensure_file(data_dir)
        database = sqlite3.connect(data_dir / "answers.sqlite", isolation_level=None)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE answers (name TEXT)")
        database.execute("INSERT INTO answers VALUES ('before')")

        def take() -> Snapshot:
            database.execute("INSERT INTO answers VALUES ('meanwhile')")
            return fake_snapshot(data_dir)

        making.make(data_dir, tmp_path / "backup", take, quiet)
        database.close()
        copy = sqlite3.connect(tmp_path / "backup" / "answers.sqlite")
        assert copy.execute("SELECT name FROM answers").fetchall() == [("before",)]
        copy.close()
        names = {path.name for path in (tmp_path / "backup").iterdir()}
        assert names == {"answers.sqlite", "catchment.toml", "manifest.json", "SHA256SUMS"}

    def test_a_memory_of_answers_that_is_damaged_is_left_out(self, tmp_path: Path) -> None:
        config.ensure_file(tmp_path / "data")
        (tmp_path / "data" / "answers.sqlite").write_bytes(b"this is no database" * 1000)
        making.make(tmp_path / "data", tmp_path / "backup", lambda: fake_snapshot(tmp_path), quiet)
        assert not (tmp_path / "backup" / "answers.sqlite").exists()
        assert list(manifest.faults(tmp_path / "backup", manifest.read(tmp_path / "backup"))) == []

    @pytest.mark.parametrize("when", ["before the copy", "with the snapshot"])
    def test_settings_that_are_replaced_meanwhile_are_in_it_whole(self, tmp_path: Path, when: str) -> None:
        data_dir, target = tmp_path / "data", tmp_path / "backup"
        config.ensure_file(data_dir)
        file = data_dir / config.FILE_NAME
        first = file.read_text()
        second = "# a comment that somebody put in front\n" * 100 + first

        def replace(now: str) -> None:
            if now == when:
                (data_dir / "edited").write_text(second)
                (data_dir / "edited").replace(file)

        def take() -> Snapshot:
            replace("with the snapshot")
            return fake_snapshot(data_dir)

        def begin(_: int) -> manifest.Advance:
            replace("before the copy")
            return lambda _: None

        made = making.make(data_dir, target, take, begin)
        assert (target / config.FILE_NAME).read_text() in (first, second)
        assert list(manifest.faults(target, made)) == []

    def test_files_that_are_there_for_a_moment_only_are_not_in_it(self, tmp_path: Path) -> None:
        data_dir, target = tmp_path / "data", tmp_path / "backup"
        config.ensure_file(data_dir)
        passing = [data_dir / f"{name}a_b1c2d3" for name in (config.FILE_NAME, config.SOUND_NAME)]
        for file in passing:
            file.touch()
        (data_dir / "catchment.toml.bak").touch()

        def begin(_: int) -> manifest.Advance:
            for file in passing:
                file.unlink()
            return lambda _: None

        making.make(data_dir, target, lambda: fake_snapshot(data_dir), begin)
        names = {path.name for path in target.iterdir()}
        assert names == {"catchment.toml", "catchment.toml.bak", "manifest.json", "SHA256SUMS"}

    def test_it_waits_while_a_table_is_being_changed(self, tmp_path: Path) -> None:
        catchment("sql", "SELECT 1", data_dir=_served_once(tmp_path / "data"))
        done = subprocess.run(
            [sys.executable, "-c", CHANGING, str(tmp_path / "data")], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {"while changing": True, "rows": 0, "left": 1}


# A change is kept from being done, and let go while a snapshot is wanted.
CHANGING = """
import json, os, sys, threading
from pathlib import Path
from catchment import wiring
from catchment.backup import snapshot

data_dir = Path(sys.argv[1])
store, log, loader = wiring.open_as_it_is(data_dir)
store.migrate()
line = {"app": "a", "source": "moesif", "kind": "action", "event_id": "e", "received_us": 1772445600000000,
        "payload": {}, "name": "A", "time": "2026-03-02T10:00:00Z"}
store.insert(json.dumps(line).encode() + b"\\n")
store._command("SYSTEM STOP MERGES catchment.event_rows")
store._command("ALTER TABLE catchment.event_rows DELETE WHERE 1 SETTINGS mutations_sync = 0")
changing = store.changes().under_way
threading.Timer(1.5, lambda: store._command("SYSTEM START MERGES catchment.event_rows")).start()
taken = snapshot.take(store, loader, data_dir)
parts = (data_dir / taken.tables["event_rows"]).glob("*/count.txt")
told = {"while changing": changing, "rows": sum(int(part.read_text()) for part in parts)}
print(json.dumps(told | {"left": len(os.listdir(data_dir / "store" / "shadow")) - 1}))
store.close()
"""


def _served_once(data_dir: Path) -> Path:
    config.ensure_file(data_dir)
    return data_dir


def _groups(data: bytes) -> Iterator[bytes]:
    """The groups with their commit lines, found without the code that is tested."""
    part = b""
    for text in data.splitlines(keepends=True):
        part += text
        if text.startswith(b'{"commit"'):
            yield part
            part = b""


class TestNothingHalf:
    @pytest.mark.parametrize(
        ("prepare", "sentence"),
        [
            (
                lambda target: (target.mkdir(), (target / "x").touch()),
                "is there already, and no backup is ever written",
            ),
            (lambda target: target.touch(), "is there already, and no backup is ever written"),
            (lambda target: Path(f"{target}.partial").mkdir(), "is left of a backup that was cut off; remove it"),
        ],
    )
    def test_a_folder_that_is_in_use_is_refused(
        self, busy: Server, tmp_path: Path, prepare: Callable[[Path], object], sentence: str
    ) -> None:
        prepare(tmp_path / "target")
        before = sorted(tmp_path.rglob("*"))
        assert sentence in catchment("backup", str(tmp_path / "target"), data_dir=busy.data_dir, code=1)
        assert sorted(tmp_path.rglob("*")) == before

    def test_a_folder_inside_of_the_data_dir_is_refused(self, busy: Server) -> None:
        told = catchment("backup", str(busy.data_dir / "backup"), data_dir=busy.data_dir, code=1)
        assert "is inside of the data dir, and would be lost with it" in told

    def test_an_empty_folder_is_filled(self, busy: Server, tmp_path: Path) -> None:
        catchment("backup", str(tmp_path), data_dir=busy.data_dir)
        assert "is sound" in verified(tmp_path)

    def test_two_at_the_same_time_are_refused(self, busy: Server, tmp_path: Path) -> None:
        lock = hold(busy.data_dir / LOCK_NAME)
        assert lock is not None
        try:
            told = catchment("backup", str(tmp_path / "target"), data_dir=busy.data_dir, code=1)
        finally:
            LocalDisk().unlock(lock)
        assert (
            told == f"another backup of {busy.data_dir} is under way (process {os.getpid()}); wait until it is done\n"
        )
        assert list(tmp_path.iterdir()) == []

    def test_a_backup_that_is_killed_leaves_none_and_the_next_one_is_whole(self, busy: Server, tmp_path: Path) -> None:
        chance = random.Random(SEED)
        cut_off = 0
        for number in range(12):
            target, partial = tmp_path / str(number), tmp_path / f"{number}.partial"
            command = [sys.executable, "-m", "catchment", "backup", str(target), "--data-dir", str(busy.data_dir)]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            until(lambda: partial.exists() or process.poll() is not None, within_s=WITHIN_S)  # noqa: B023
            time.sleep(chance.random() * 0.4)
            process.kill()
            process.wait()
            if target.exists():
                assert "is sound" in verified(target)
                continue
            cut_off += 1
            told = catchment("restore", str(partial), data_dir=tmp_path / "new", code=1)
            assert "is not a backup" in told or "is not a whole backup" in told or "is damaged" in told
        assert cut_off, "no kill came in time"
        catchment("backup", str(tmp_path / "last"), data_dir=busy.data_dir)
        assert "is sound" in verified(tmp_path / "last")
        no_snapshot_is_left(busy)
        assert busy.api.get("/health/live").status_code == 200

    def test_a_backup_that_is_ended_leaves_nothing(self, busy: Server, tmp_path: Path) -> None:
        target, copying = tmp_path / "target", tmp_path / "target.partial" / "store"
        command = [sys.executable, "-m", "catchment", "backup", str(target), "--data-dir", str(busy.data_dir)]
        for _ in range(20):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            until(lambda: copying.exists() or process.poll() is not None, within_s=WITHIN_S)  # noqa: B023
            process.terminate()
            code = process.wait(WITHIN_S)
            if code:
                break
            shutil.rmtree(target)  # it was done before the signal came, so that is tried again
        assert code == 130
        assert list(tmp_path.iterdir()) == []
        assert snapshots(busy.data_dir) == []

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [("size=1m", "there is too little room in"), ("size=64m,nr_inodes=60", "cannot be written: No space left")],
        ids=["told beforehand", "met on the way"],
    )
    def test_a_full_disk_ends_it_in_a_sentence_and_nothing_is_left(
        self, busy: Server, tmp_path: Path, options: str, sentence: str
    ) -> None:
        with small_disk(tmp_path / "disk", options) as disk:
            told = catchment("backup", str(disk / "backup"), data_dir=busy.data_dir, code=1)
            assert sentence in told
            assert "Traceback" not in told
            assert list(disk.iterdir()) == []
        assert snapshots(busy.data_dir) == []


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """A disk in memory; only for root, and where the system lets it."""
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can make a small disk")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no small disk can be made here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


class TestRestore:
    def test_a_data_dir_that_is_not_empty_is_refused(self, busy: Server, backup: Path) -> None:
        told = catchment("restore", str(backup), data_dir=busy.data_dir, code=1)
        assert told == (
            f"{busy.data_dir} is not empty, and a restore never writes over anything; choose a new --data-dir\n"
        )

    def test_what_is_not_a_backup_is_refused(self, tmp_path: Path) -> None:
        told = catchment("restore", str(tmp_path), data_dir=tmp_path / "new", code=1)
        assert "is not a backup: it has no manifest.json" in told
        assert not (tmp_path / "new").exists()

    @pytest.mark.parametrize(
        ("damage", "sentence"),
        [
            (lambda path: _flip(next((path / "store" / "event_rows").rglob("data.bin"))), "was changed"),
            (lambda path: _flip(path / "catchment.toml"), "catchment.toml was changed"),
            (lambda path: next((path / "store" / "event_rows").rglob("count.txt")).unlink(), "count.txt is missing"),
            (lambda path: (path / "store" / "event_rows" / "x").touch(), "x does not belong to it"),
            (lambda path: _change(path / "manifest.json", '"rows": ', '"rows": 1'), "manifest.json was changed"),
            (lambda path: _drop_line(path / "SHA256SUMS"), "SHA256SUMS lists"),
            (lambda path: (path / "SHA256SUMS").unlink(), "has no SHA256SUMS"),
            (lambda path: (path / "SHA256SUMS").write_text("?"), "SHA256SUMS is damaged"),
            (lambda path: (path / "manifest.json").write_text("{"), "manifest.json is damaged"),
        ],
    )
    def test_a_damaged_backup_is_refused_with_what_is_damaged(
        self, copied: Path, tmp_path: Path, damage: Callable[[Path], object], sentence: str
    ) -> None:
        damage(copied)
        told = catchment("restore", str(copied), data_dir=tmp_path / "new", code=1)
        assert sentence in told
        assert "Traceback" not in told
        assert not (tmp_path / "new").exists()
        assert sentence in verified(copied, code=1)

    @pytest.mark.parametrize(
        ("changed", "sentence"),
        [
            ({"format": 2}, "was made by a later version of Catchment (its form is 2, this version knows 1)"),
            ({"version": "9.9.9", "schema": {"9999_x.sql": "0"}}, "install 9.9.9 or a later one, then restore"),
            ({"schema": {"0001_log.sql": "0"}}, "was made by another build of Catchment"),
        ],
    )
    def test_a_backup_of_another_version_is_refused_with_what_to_do(
        self, copied: Path, tmp_path: Path, changed: dict[str, Any], sentence: str
    ) -> None:
        _remake(copied, changed)
        assert sentence in catchment("restore", str(copied), data_dir=tmp_path / "new", code=1)
        assert not (tmp_path / "new").exists()

    @pytest.mark.parametrize(
        ("path", "sentence"),
        [
            (("counts", "views", "events"), "rows of the view events: "),
            (("tables", "event_rows", "rows"), "rows of event_rows: "),
        ],
    )
    def test_what_differs_is_told_and_nothing_is_kept(
        self, copied: Path, tmp_path: Path, path: tuple[str, ...], sentence: str
    ) -> None:
        figures: Any = json.loads((copied / "manifest.json").read_text())
        place = figures
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] += 1
        _remake(copied, figures)
        told = catchment("restore", str(copied), data_dir=tmp_path / "new", code=1)
        assert "what was restored is not what was backed up, so nothing was kept:\n  - " + sentence in told
        assert not (tmp_path / "new").exists()

    def test_books_that_do_not_balance_any_more_are_told_and_nothing_is_kept(
        self, copied: Path, tmp_path: Path
    ) -> None:
        for part in (copied / "store" / "deliveries").iterdir():
            shutil.rmtree(part)
        figures = json.loads((copied / "manifest.json").read_text())
        figures["tables"]["deliveries"] = {"parts": 0, "rows": 0}
        _remake(copied, figures)
        told = catchment("restore", str(copied), data_dir=tmp_path / "new", code=1)
        assert "ledger: difference: 0 then, " in told
        assert not (tmp_path / "new").exists()

    def test_a_restore_that_is_killed_leaves_nothing_that_a_server_would_start_from(
        self, backup: Path, tmp_path: Path
    ) -> None:
        chance = random.Random(SEED)
        refused = 0
        for number in range(8):
            data_dir = tmp_path / str(number)
            command = [sys.executable, "-m", "catchment", "restore", str(backup), "--data-dir", str(data_dir)]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            until(lambda: data_dir.exists() or process.poll() is not None, within_s=WITHIN_S)  # noqa: B023
            time.sleep(chance.random() * 1.5)
            process.kill()
            process.wait()
            if (data_dir / config.RESTORING_NAME).exists():
                refused += 1
                for told in (
                    catchment("serve", "--port", "0", "--console-port", "0", data_dir=data_dir, code=2),
                    catchment("sql", "SELECT 1", data_dir=data_dir, code=2),
                ):
                    assert "a restore into it was cut off, or is still under way; wait for it" in told
                told = catchment("restore", str(backup), data_dir=data_dir, code=1)
                assert "holds a restore that was cut off" in told
            else:
                assert len(rows(data_dir, ALL_EVENTS)) >= 501
        assert refused, "no kill came in time"

    def test_a_full_disk_ends_it_in_a_sentence(self, backup: Path, tmp_path: Path) -> None:
        with small_disk(tmp_path / "disk", "size=200k") as disk:
            told = catchment("restore", str(backup), data_dir=disk, code=1)
            assert "there is too little room in" in told
            assert list(disk.iterdir()) == []

    def test_a_disk_of_its_own_can_be_restored_to(self, backup: Path, tmp_path: Path) -> None:
        with small_disk(tmp_path / "disk", "size=256m") as disk:  # as a volume of a container is
            catchment("restore", str(backup), data_dir=disk)
            assert len(rows(disk, ALL_EVENTS)) >= 501


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def _change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def _drop_line(file: Path) -> None:
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))


def _remake(backup: Path, changed: dict[str, Any]) -> None:
    """Changes the manifest, and the lists so that they fit."""
    figures = json.loads((backup / "manifest.json").read_text()) | changed
    files = sorted(path for path in manifest.paths(backup) if path not in ("manifest.json", "SHA256SUMS"))
    figures["files"] = len(files)
    (backup / "manifest.json").write_text(json.dumps(figures))
    listed = [*files, "manifest.json"]
    sums = (f"{manifest.digest_of(backup / path, lambda _: None)}  {path}\n" for path in listed)
    (backup / "SHA256SUMS").write_text("".join(sums))


@pytest.mark.parametrize("target", [".", "..", "/", "./", "inner/..", "absolute"])
def test_the_folder_that_somebody_is_in_is_no_folder_for_a_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    config.ensure_file(tmp_path / "data")
    (tmp_path / "here" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    where = str(tmp_path / "here") if target == "absolute" else target
    told = catchment("backup", where, data_dir=tmp_path / "data", code=1)
    assert "holds the folder that you are in; name a new one, like " in told
    assert "Traceback" not in told


def test_a_folder_may_be_named_in_any_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.ensure_file(tmp_path / "data")
    (tmp_path / "here").mkdir()
    (tmp_path / "linked").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "linked")
    monkeypatch.chdir(tmp_path / "here")
    for name in ("one/", "./two", "../three", "../link"):
        making.make(tmp_path / "data", Path(name), lambda: fake_snapshot(tmp_path), quiet)
        assert "is sound" in verified(Path(name))
    assert {path.name for path in tmp_path.iterdir()} == {"data", "here", "link", "linked", "three"}


def test_the_private_key_that_a_server_serves_is_in_no_backup(tmp_path: Path) -> None:
    config.ensure_file(tmp_path / "data")
    for name in ("tls.pem", "tls.pema_b1c2d3"):
        (tmp_path / "data" / name).write_text("PRIVATE KEY")
    making.make(tmp_path / "data", tmp_path / "backup", lambda: fake_snapshot(tmp_path), quiet)
    names = {path.name for path in (tmp_path / "backup").iterdir()}
    assert names == {"catchment.toml", "manifest.json", "SHA256SUMS"}


def test_a_mount_point_is_no_folder_for_a_backup(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=1m") as disk, pytest.raises(BackupError, match="name a folder in it"):
        making.refuse_target(disk, tmp_path / "data")


def test_the_commands_of_the_page_work_one_after_the_other(busy: Server, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "catchment"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m catchment "$@"\n')
    program.chmod(0o700)
    (tmp_path / "data").symlink_to(busy.data_dir)
    scripts = [block.text for block in blocks(DOCS / "backup.md") if block.info == "sh"]
    assert len(scripts) == 3
    environment = os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    for script in scripts:
        done = subprocess.run(
            ["sh", "-eu", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
    assert "Restored to restored: `catchment serve --data-dir restored`" in done.stdout
    assert {"backups", "restored"} <= {path.name for path in tmp_path.iterdir()}
