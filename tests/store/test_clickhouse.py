"""The embedded ClickHouse keeps the store's contract."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from catchment.settings import MIB, Sql
from catchment.store.clickhouse import ClickHouseStore, _statements
from catchment.store.store import Store, StoreError
from tests.store.books import LedgerContract, ledger
from tests.store.contract import StoreContract, event, lines
from tests.store.identity import IdentityContract

BOUNDS = Sql(seconds_max=2, rows_max=1000, memory_bytes_max=64 * MIB)


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


def test_a_store_of_another_version_is_refused_with_what_to_do(engine: ClickHouseStore) -> None:
    engine._command("INSERT INTO catchment.migrations VALUES ('9999_later.sql', 'x', now64(3))")
    with pytest.raises(StoreError, match=r"made by another version of Catchment \(9999_later.sql\); .*--data-dir"):
        engine.migrate()
    change = "ALTER TABLE catchment.migrations {} SETTINGS mutations_sync = 1"
    engine._command(change.format("DELETE WHERE name = '9999_later.sql'"))
    engine._command(change.format("UPDATE digest = 'x' WHERE name = '0002_events.sql'"))
    with pytest.raises(StoreError, match=r"0002_events\.sql"):
        engine.migrate()


def test_a_migration_that_was_cut_off_can_begin_again() -> None:
    text = "-- why\nCREATE TABLE a.b\n(x Int8)\nENGINE = Null;\n\nCREATE VIEW a.c AS SELECT ';' AS x;\n"
    assert _statements(text) == [
        "CREATE TABLE IF NOT EXISTS a.b\n(x Int8)\nENGINE = Null",
        "CREATE VIEW IF NOT EXISTS a.c AS SELECT ';' AS x",
    ]


def test_properties_of_very_many_keys_are_written_to_few_files(engine: ClickHouseStore) -> None:
    engine._command("TRUNCATE TABLE catchment.event_rows")
    in_array = {"a": [{f"key_{number}": number} for number in range(20_000)]}
    engine.insert(lines(event("array", properties=in_array)))
    assert engine.query("SELECT count() AS n FROM event_rows").rows == [{"n": 1}]
    [folder] = {path.parent for path in engine._path.rglob("primary.*") if path.parent.name.startswith("2025_")}
    assert len(list(folder.iterdir())) < 20


def test_what_a_merge_writes_is_synced_before_what_it_merged_is_dropped(engine: ClickHouseStore) -> None:
    def synced_files() -> int:
        return int(engine._text(engine._writer, "SELECT sum(value) FROM system.events WHERE event = 'FileSync'", {}))

    listing = "SELECT name FROM system.tables WHERE database = 'catchment' AND engine LIKE '%MergeTree'"
    tables = [row["name"] for row in engine.query(listing).rows]
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
