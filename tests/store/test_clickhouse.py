"""The embedded ClickHouse keeps the store's contract."""

import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError

from catchment.settings import MIB, Sql
from catchment.store.clickhouse import ClickHouseStore
from catchment.store.failures import is_passing
from catchment.store.parts import Part, Parts
from catchment.store.readers import Readers
from catchment.store.room import TABLE_SETTINGS
from catchment.store.schema import VIEWS, statements
from catchment.store.store import QueryError, Store, StoreError
from tests.store.books import LedgerContract, ledger
from tests.store.contract import StoreContract, event, lines
from tests.store.identity import IdentityContract

# So long that no query of these tests comes to it on a machine that stands still for a while.
BOUNDS = Sql(seconds_max=60, rows_max=1000, memory_bytes_max=64 * MIB, answer_bytes_max=MIB)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseStore]:
    """One engine for the module: a process can open one path only."""
    store = ClickHouseStore(tmp_path_factory.mktemp("engine") / "store", BOUNDS)
    store.migrate()
    yield store
    store.close()


class TestClickHouseKeepsTheContract(StoreContract, IdentityContract, LedgerContract):
    @pytest.fixture
    def store(self, engine: ClickHouseStore) -> Store:
        for table in (
            "event_rows",
            "profile_leaves",
            "aliases",
            "activity",
            "edge_tallies",
            "deliveries",
            "rejection_rows",
        ):
            engine._command(f"TRUNCATE TABLE catchment.{table}")
        return engine


def test_a_part_that_is_gone_when_it_is_looked_at_is_not_broken(engine: ClickHouseStore, tmp_path: Path) -> None:
    parts = Parts(engine.open_handle)
    try:
        assert parts._passes(Part(tmp_path / "all_9998_9999_1", "event_rows", 7))
    finally:
        parts.close()


def test_an_event_that_the_store_lost_is_no_duplicate(engine: ClickHouseStore) -> None:
    engine.insert(lines(event("lost", app="loser", edge="e", tally=1), event("left", app="loser", edge="e", tally=2)))
    engine._command("ALTER TABLE catchment.event_rows DELETE WHERE event_id = 'lost' SETTINGS mutations_sync = 1")
    [row] = [row for row in ledger(engine) if row["app"] == "loser"]
    assert (row["received"], row["stored"], row["duplicate"], row["difference"]) == (2, 1, 0, 1)


def test_what_was_inserted_is_there_when_the_store_is_opened_again(tmp_path: Path, engine: ClickHouseStore) -> None:
    engine.insert(lines(event("kept")))
    path = engine._path
    engine.close()
    engine.__init__(path, BOUNDS)  # type: ignore[misc]
    assert engine.migrate() == []
    assert engine.query("SELECT count() AS n FROM events WHERE event_id = 'kept'").rows == [{"n": 1}]


def test_a_disk_without_room_is_no_fault_of_a_line(engine: ClickHouseStore) -> None:
    change = "ALTER TABLE catchment.event_rows {} SETTING min_free_disk_bytes_to_perform_insert"
    engine._command(change.format("MODIFY") + f" = {1 << 60}")
    try:
        with pytest.raises(StoreError) as full:
            engine.insert(lines(event("too much")))
    finally:
        engine._command(change.format("RESET"))
    assert full.value.passing
    with pytest.raises(StoreError) as wrong:
        engine.insert(b'{"app": [}\n')
    assert not wrong.value.passing


def test_a_merge_that_a_full_disk_did_not_take_is_undone_by_opening_the_store_again(engine: ClickHouseStore) -> None:
    engine._command("TRUNCATE TABLE catchment.event_rows")
    for name in ("first", "second"):
        engine.insert(lines(event(name)))
    engine._command("OPTIMIZE TABLE catchment.event_rows FINAL")
    where = "FROM system.parts WHERE table = 'event_rows' AND active AND level > 0 AND rows > 0"  # truncated: empty
    [merged] = engine._text(engine._writer, f"SELECT path {where}", {}).splitlines()
    for file in Path(merged).iterdir():  # as the engine leaves it
        os.truncate(file, 0)
    [broken] = engine.broken_parts()
    assert broken == f"event_rows {Path(merged).name}"
    path = engine._path
    engine.close()
    engine.__init__(path, BOUNDS)  # type: ignore[misc]
    engine.migrate()
    assert engine.query("SELECT event_id FROM events ORDER BY event_id").rows == [
        {"event_id": "first"},
        {"event_id": "second"},
    ]
    assert engine.broken_parts() == []


def test_the_programs_own_queries_wait_for_no_others(engine: ClickHouseStore) -> None:
    assert engine._readers
    with ExitStack() as taken:
        for _ in range(engine._sql.queries_max):
            taken.enter_context(engine._readers.one())
        with engine.asking() as ask:
            assert [row for row in ask("removal") if row]
        assert engine.tables()


def test_an_engine_that_fails_to_open_another_handle_is_a_failure_in_words(
    engine: ClickHouseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise ClickHouseError("Code: 241. DB::Exception: (total) memory limit exceeded: it is full")

    readers = Readers(engine._open_reader, 1)
    with monkeypatch.context() as failing:
        failing.setattr(readers, "_open_reader", fail)
        with pytest.raises(QueryError, match="it is full"), readers.one():
            fail()
        failing.setattr(engine, "_text", fail)
        with pytest.raises(StoreError, match="it is full"):
            engine.changes()
    with pytest.raises(QueryError), readers.one() as reader:
        reader.command("SELECT 1")
    with readers.one() as reader:
        assert reader.command("SELECT 1") == 1
    readers.close()


def test_a_query_that_waits_while_the_store_is_closed_is_answered(engine: ClickHouseStore) -> None:
    readers = Readers(engine._open_reader, 0)
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(readers.one().__enter__) for _ in range(2)]
        readers.close()
        for one in waiting:
            with pytest.raises(QueryError, match="being stopped"):
                one.result(60)


def test_a_query_may_not_run_for_longer_than_its_bound(
    engine: ClickHouseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_sql", BOUNDS.model_copy(update={"seconds_max": 2}))
    readers = Readers(engine._open_reader, 1)
    monkeypatch.setattr(engine, "_readers", readers)
    with pytest.raises(QueryError, match=r"(?i)time"):
        engine.query("SELECT sum(cityHash64(number)) FROM numbers(1000000000000)")
    readers.close()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT arrayWithConstant(1000000, 0.5) FROM numbers(20)",  # as the engine holds it
        "SELECT arrayWithConstant(500000, 255::UInt8)",  # as JSON only
        f"SELECT 1 AS {'n' * 2000} FROM numbers(1000)",
    ],
)
def test_an_answer_has_a_bound(engine: ClickHouseStore, query: str) -> None:
    with pytest.raises(QueryError, match=r"bytes|for result"):
        engine.query(query)
    assert engine.query("SELECT 1 AS n").rows == [{"n": 1}]


def test_a_view_that_a_full_disk_cut_off_is_made_anew(
    engine: ClickHouseStore, caplog: pytest.LogCaptureFixture
) -> None:
    engine.insert(lines(event("seen", app="viewer")))
    path = engine._path
    engine.close()
    [definition] = path.glob("store/*/*/events.sql")
    os.truncate(definition, 100)  # the engine does not open a store with such a file
    engine.__init__(path, BOUNDS)  # type: ignore[misc]
    engine.migrate()
    assert engine.query("SELECT event_id FROM events WHERE app = 'viewer'").rows == [{"event_id": "seen"}]
    assert "the view events was cut off" in caplog.text


def test_opening_a_store_again_writes_no_definition(engine: ClickHouseStore) -> None:
    def stamps() -> dict[str, int]:
        return {file.name: file.stat().st_mtime_ns for file in engine._path.glob("store/*/*/*.sql")}

    before = stamps()
    assert len(before) > len(VIEWS)
    engine.migrate()
    assert stamps() == before
    engine._command("CREATE OR REPLACE VIEW catchment.rejections AS SELECT 1 AS app")
    engine.migrate()
    changed = {name for name, stamp in stamps().items() if stamp != before[name]}
    assert changed == {"rejections.sql", "ledger.sql"}, "and those that may read it"
    assert engine.query("SELECT count() AS n FROM rejections WHERE code = 'none'").rows == [{"n": 0}]


def test_without_room_on_the_disk_nothing_is_given_to_the_engine(
    engine: ClickHouseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catchment.store.room.ROOM_BYTES_MIN", 1 << 60)
    with pytest.raises(StoreError, match="B left, and it needs") as full:
        engine.insert(lines(event("no room")))
    assert full.value.passing
    assert engine.migrate() == [], "what is there already needs no room"


def test_an_insert_that_the_disk_did_not_take_has_failed(
    engine: ClickHouseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catchment.store.room.is_whole", lambda folder, size: False)
    engine.insert(lines(event("whole")))  # a suspicion is not enough
    monkeypatch.setattr(engine._inserted, "_passes", lambda part: False)
    with pytest.raises(StoreError, match="did not take all of") as failed:
        engine.insert(lines(event("half")))
    assert failed.value.passing


def test_what_is_inserted_lies_beside_the_store_and_goes_with_the_next_start(
    engine: ClickHouseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []
    raw_insert = engine._writer.raw_insert

    def insert_and_look(*arguments: Any, **named: Any) -> Any:
        seen.append(Path(tempfile.gettempdir()))
        return raw_insert(*arguments, **named)

    monkeypatch.setattr(engine._writer, "raw_insert", insert_and_look)
    engine.insert(lines(event("passing by")))
    path = engine._path
    assert seen == [path.with_name("incoming")]
    assert tempfile.gettempdir() != str(seen[0])
    left = seen[0] / "left.raw"
    left.write_text("somebody's events")
    engine.close()
    engine.__init__(path, BOUNDS)  # type: ignore[misc]
    assert not left.exists()
    engine.migrate()


def test_every_table_syncs_its_merges_and_keeps_what_they_replaced_for_a_while(engine: ClickHouseStore) -> None:
    query = "SELECT name, engine_full FROM system.tables WHERE database = 'catchment' AND engine LIKE '%MergeTree'"
    tables = engine._text(engine._writer, query, {}).splitlines()
    assert len(tables) > 5
    for table in tables:
        for name, value in TABLE_SETTINGS.items():
            assert f"{name} = {value}" in table


def test_a_store_of_another_version_is_refused_with_what_to_do(engine: ClickHouseStore) -> None:
    engine._command("INSERT INTO catchment.migrations VALUES ('9999_later.sql', 'x', now64(3))")
    with pytest.raises(StoreError, match=r"\(another build of .*; it has 9999_later.sql\)\. .*--data-dir"):
        engine.migrate()
    change = "ALTER TABLE catchment.migrations {} SETTINGS mutations_sync = 1"
    engine._command(change.format("DELETE WHERE name = '9999_later.sql'"))
    engine._command(change.format("UPDATE digest = 'x' WHERE name = '0002_events.sql'"))
    with pytest.raises(StoreError, match=r"0002_events\.sql"):
        engine.migrate()


def test_a_migration_that_was_cut_off_can_begin_again() -> None:
    text = "-- why\nCREATE TABLE a.b\n(x Int8)\nENGINE = Null;\n\nCREATE VIEW a.c AS SELECT ';' AS x;\n"
    assert statements(text) == [
        "CREATE TABLE IF NOT EXISTS a.b\n(x Int8)\nENGINE = Null",
        "CREATE VIEW IF NOT EXISTS a.c AS SELECT ';' AS x",
    ]


@pytest.mark.parametrize(
    ("message", "down"),
    [
        ("Cannot reserve 1.00 MiB, not enough space: while pushing to view catchment.x. (NOT_ENOUGH_SPACE)", True),
        ("Cannot write to file (fd = 5): , errno: 28. (CANNOT_WRITE_TO_FILE_DESCRIPTOR)", True),
        ("std::exception: filesystem error: cannot create: No space left on device. (STD_EXCEPTION)", True),
        ("Cannot parse input: expected '{' before: 'x' (NOT_ENOUGH_SPACE): (at row 1) (CANNOT_PARSE_TEXT)", False),
        ("(total) memory limit exceeded: would use 1.00 GiB, maximum: 1.00 GiB. (MEMORY_LIMIT_EXCEEDED)", True),
        ("Allocator: Cannot malloc 1.00 MiB: , errno: 12, strerror: x: (in file). (CANNOT_ALLOCATE_MEMORY)", True),
        ("Query memory limit exceeded: would use 9.05 MiB, maximum: 8.00 MiB. (MEMORY_LIMIT_EXCEEDED)", False),
        ("Cannot parse input: before: '(total) memory limit exceeded: ': (at row 1) (CANNOT_PARSE_TEXT)", False),
        ("", False),
    ],
)
def test_a_fault_of_the_machine_is_told_from_one_of_the_lines(message: str, down: bool) -> None:
    assert is_passing(Exception(message)) is down


def test_properties_of_very_many_keys_are_written_to_few_files(engine: ClickHouseStore) -> None:
    engine._command("TRUNCATE TABLE catchment.event_rows")
    in_array = {"a": [{f"key_{number}": number} for number in range(20_000)]}
    engine.insert(lines(event("array", properties=in_array)))
    assert engine.query("SELECT count() AS n FROM event_rows").rows == [{"n": 1}]
    parts = {path.parent for path in engine._path.rglob("primary.*") if path.parent.name.startswith("2025_")}
    folder = max(parts, key=lambda part: part.stat().st_mtime_ns)  # those that were removed stay for a while
    assert len(list(folder.iterdir())) < 20


def test_what_a_merge_writes_is_synced_before_what_it_merged_is_dropped(engine: ClickHouseStore) -> None:
    def synced_files() -> int:
        return int(engine._text(engine._writer, "SELECT sum(value) FROM system.events WHERE event = 'FileSync'", {}))

    listing = "SELECT name FROM system.tables WHERE database = 'catchment' AND engine LIKE '%MergeTree'"
    tables = engine._text(engine._writer, listing, {}).splitlines()
    assert len(tables) > 8
    for table in tables:
        engine._command(f"SYSTEM STOP MERGES catchment.{table}")
    record = event("merged", kind="api_call", session_token="s", user_id="u", edge="e", tally=1)
    replayed = event("r", kind="replay")
    refused = event("r", kind="rejection", status=400)
    for number in range(2):
        updated = event("u", kind="user", user_id="u", session_token="s", leaves=[["k", str(number)]])
        engine.insert(lines(*[found | {"received_us": number + 1} for found in (record, replayed, refused, updated)]))
    for table in ("event_rows", "deliveries", "rejection_rows", "replay_rows", "profile_leaves", "aliases", "activity"):
        before = synced_files()
        engine._command(f"SYSTEM START MERGES catchment.{table}")
        engine._command(f"OPTIMIZE TABLE catchment.{table} FINAL")
        assert synced_files() > before, table
