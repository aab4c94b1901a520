"""Data of an older version is taken over whole; data of a later one is refused with what to do, and kept.

`tests/released/` has a data dir of each released schema. Whatever changes the schema must pass here.
"""

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from catchment import config
from catchment.errors import CannotEver
from catchment.log.disk import LocalDisk
from catchment.log.patience import LaterFormat
from catchment.log.reader import SegmentReader
from catchment.log.segment import group, header, scan, version_of
from catchment.settings import Log
from catchment.store.schema import known_schema
from tests.conftest import Server, catchment, until

RELEASED = Path(__file__).parent / "released"
ARCHIVES = sorted(RELEASED.glob("*.tar.xz"))
# What was released is never changed: a store that has it would be refused, or lack the change.
FROZEN = {
    "0001_log.sql": "fa9e004b157e7731",
    "0002_events.sql": "8db0b1264f07108e",
    "0003_profiles.sql": "24c83248dcdd5ed8",
    "0004_rejections.sql": "1009d37abd9dca1f",
    "0005_ledger.sql": "7f40ed1886c2d4c7",
    "0006_replays.sql": "4a2facc12f12242f",
}
BATCH_PATH = "/1.0/LIVE0000000000000000000000000000/events/users/u-2"
KEYED = {"X-Authorization": "rest-api-key-of-a-released-version", "Idempotency-Key": "the-same-key"}
# The command line of a version that has one migration more than this one.
LATER_VERSION = """
import shutil, sys
from pathlib import Path
import catchment
catchment.__version__ = "9.9.9"
from catchment.cli import commands
from catchment.store import schema
folder = Path(sys.argv[1])
if not folder.exists():
    shutil.copytree(str(schema.MIGRATIONS), folder)
    (folder / "9999_later.sql").write_text(
        "ALTER TABLE catchment.event_rows ADD COLUMN IF NOT EXISTS later String DEFAULT 'later';\\n"
    )
schema.MIGRATIONS = folder
sys.exit(commands.run(sys.argv[2:]))
"""


def later_version(tmp_path: Path, *arguments: str) -> str:
    """What that command line prints."""
    command = [sys.executable, "-c", LATER_VERSION, str(tmp_path / "migrations"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.name.removesuffix(".tar.xz"))
def released(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with the data dir of a released version, and its answers."""
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def answers(released: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((released / "answers.json").read_text())
    return found


def unread(data_dir: Path) -> int:
    return SegmentReader(LocalDisk(), data_dir / "log", Log()).backlog().unread_bytes


def test_migrations_that_were_released_are_as_they_were() -> None:
    assert FROZEN.items() <= known_schema().items()


def test_there_is_a_small_data_dir_of_a_released_version() -> None:
    assert ARCHIVES
    assert all(archive.stat().st_size < 300_000 for archive in ARCHIVES)


def test_this_version_goes_on_with_the_data_of_a_released_one(released: Path) -> None:
    assert unread(released / "data") > 1000
    server = Server(released / "data")
    try:
        until(lambda: server.api.get("/api/status").json()["lag"]["unread_bytes"] == 0, within_s=60)
        for answer in answers(released):
            assert server.sql(answer["sql"]) == answer["rows"], answer["sql"]
        assert server.sql("SELECT sum(abs(difference)) AS off FROM ledger") == [{"off": 0}]
        # A call that was accepted by the old version under a key is still known by it.
        [kept] = server.sql("SELECT request_token FROM events WHERE name = 'ue.kept_once'")
        body = {"events": [{"name": "ue.kept_once"}]}
        again = server.http.post(server.ingest + BATCH_PATH, json=body, headers=KEYED)
        assert (again.status_code, again.json()) == (201, {"token": kept["request_token"]})
        until(lambda: server.api.get("/api/status").json()["lag"]["unread_bytes"] == 0, within_s=60)
        assert len(server.sql("SELECT 1 FROM events WHERE name = 'ue.kept_once'")) == 1
    finally:
        assert server.stop() == 0


def test_a_backup_of_a_released_version_is_restored_to_this_one(released: Path, tmp_path: Path) -> None:
    catchment("backup", str(tmp_path / "backup"), data_dir=released / "data")
    assert unread(released / "data") > 1000  # it loads nothing
    catchment("restore", str(tmp_path / "backup"), data_dir=tmp_path / "new")
    for answer in answers(released):
        told = catchment("sql", answer["sql"], "--format", "json", data_dir=tmp_path / "new")
        assert json.loads(told) == answer["rows"], answer["sql"]


def test_a_version_with_one_migration_more_takes_the_data_over(released: Path, tmp_path: Path) -> None:
    query = "SELECT count() AS n, countIf(later = 'later') AS later FROM event_rows FINAL"
    [row] = json.loads(later_version(tmp_path, "sql", query, "--format", "json", "--data-dir", str(released / "data")))
    assert row["n"] == row["later"] > 30


def test_a_backup_of_this_version_is_restored_by_one_with_one_migration_more(released: Path, tmp_path: Path) -> None:
    data_dir, new = str(released / "data"), str(tmp_path / "new")
    catchment("sql", "SELECT 1", data_dir=released / "data")  # loads all that there is
    # Made by the later version before it has changed anything, as one does before an upgrade.
    later_version(tmp_path, "backup", str(tmp_path / "backup"), "--data-dir", data_dir)
    made = json.loads((tmp_path / "backup" / "manifest.json").read_text())
    assert made["schema"] == known_schema()
    assert made["counts"] is None
    catchment("sql", "SELECT 1", data_dir=released / "data")  # this version can still go on
    later_version(tmp_path, "restore", str(tmp_path / "backup"), "--data-dir", new)
    query = "SELECT count() AS n, countIf(later = 'later') AS later FROM event_rows FINAL"
    [row] = json.loads(later_version(tmp_path, "sql", query, "--format", "json", "--data-dir", new))
    assert row["n"] == row["later"] > 30


def test_data_of_a_later_version_is_refused_with_what_to_do_and_kept(released: Path, tmp_path: Path) -> None:
    data_dir = released / "data"
    later_version(tmp_path, "sql", "SELECT 1", "--data-dir", str(data_dir))
    for arguments, code in (
        (("serve", "--port", "0", "--console-port", "0"), CannotEver.exit_code),
        (("sql", "SELECT 1"), 1),
        (("backup", str(tmp_path / "backup")), 1),
    ):
        told = catchment(*arguments, data_dir=data_dir, code=code)
        assert "was written by another Catchment (9.9.9; it has 9999_later.sql). This is 0.1.0, which reads" in told
        assert "install 9.9.9 or a later one, or start with another --data-dir" in told
        assert "Traceback" not in told
    assert not (tmp_path / "backup").exists()
    later_version(tmp_path, "backup", str(tmp_path / "later"), "--data-dir", str(data_dir))
    told = catchment("restore", str(tmp_path / "later"), data_dir=tmp_path / "new", code=1)
    assert "install" in told
    assert "9999_later.sql" in told


class TestSegmentsOfALaterFormat:
    LINE = b'{"app":"a","source":"moesif","kind":"action","event_id":"e","received_us":1}\n'

    def segment(self, root: Path, writer: str, sequence: int, *, version: int) -> Path:
        path = root / writer / f"{sequence:012d}.ndjson"
        path.parent.mkdir(parents=True, exist_ok=True)
        [(begin, end)] = scan(header(writer, sequence)).groups
        lines = header(writer, sequence)[begin:end].replace(b'"version":1', b'"version":%d' % version)
        path.write_bytes(group(lines) + group(self.LINE))
        return path

    def test_they_are_neither_read_nor_passed_nor_removed_and_hold_up_no_other_folder(self, tmp_path: Path) -> None:
        later = self.segment(tmp_path, "edge-0", 1, version=2)
        behind = self.segment(tmp_path, "edge-0", 2, version=1)
        self.segment(tmp_path, "edge-1", 1, version=1)
        reader = SegmentReader(LocalDisk(), tmp_path, Log())
        taken = reader.read(1 << 20)
        assert taken is not None
        assert taken.lines == self.LINE  # that of the other folder
        reader.commit(taken)
        assert reader.read(1 << 20) is None
        [reason] = reader.unreadable()
        assert "install that version" in reason
        assert later.exists()
        assert behind.exists()
        assert reader.backlog().unread_bytes == later.stat().st_size + behind.stat().st_size

    def test_what_stands_before_them_is_read(self, tmp_path: Path) -> None:
        self.segment(tmp_path, "edge-0", 1, version=1)
        self.segment(tmp_path, "edge-0", 2, version=2)
        reader = SegmentReader(LocalDisk(), tmp_path, Log())
        taken = reader.read(1 << 20)
        assert taken is not None
        assert taken.lines == self.LINE
        reader.commit(taken)
        with pytest.raises(LaterFormat):
            reader.read(1 << 20)

    def test_one_that_a_later_version_had_begun_to_read_is_refused_as_well(self, tmp_path: Path) -> None:
        path = self.segment(tmp_path, "edge-0", 1, version=1)
        reader = SegmentReader(LocalDisk(), tmp_path, Log())
        taken = reader.read(1 << 20)
        assert taken is not None
        reader.commit(taken)
        self.segment(tmp_path, "edge-0", 1, version=2)
        with path.open("ab") as file:
            file.write(group(self.LINE))
        with pytest.raises(LaterFormat):
            SegmentReader(LocalDisk(), tmp_path, Log()).read(1 << 20)

    def test_a_command_tells_it_in_a_sentence(self, tmp_path: Path) -> None:
        config.ensure_file(tmp_path)
        path = self.segment(tmp_path / "log", "edge-0", 1, version=2)
        told = catchment("sql", "SELECT 1", data_dir=tmp_path, code=1)
        assert told.splitlines()[-1] == (
            f"{path}: a later version of Catchment wrote it (its format is 2, and this version reads 1); install that"
            " version: nothing behind it in this folder is loaded until then"
        )

    def test_the_format_is_found_in_the_first_bytes(self) -> None:
        assert version_of(header("edge-0", 7)) == 1
        assert version_of(b'{"app":"a"}\n') is None
        assert version_of(b"") is None
