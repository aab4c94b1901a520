"""A removal on a disk that is full, or gets full: it writes nothing, and removes nothing that it could not note."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from catchment.settings import Sql
from catchment.store import expiry, room
from catchment.store.clickhouse import ClickHouseStore
from catchment.store.expiry import Expiry
from catchment.store.store import StoreError
from tests.store.contract import lines
from tests.store.test_expiry import ALL, NOW, Dying, before, day_of, days, differences, ids, remove

TABLES = ("kept_from", "spared_events")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseStore]:
    store = ClickHouseStore(tmp_path_factory.mktemp("engine") / "store", Sql())
    store.migrate()
    yield store
    store.close()


@pytest.fixture
def store(engine: ClickHouseStore) -> ClickHouseStore:
    for row in engine.tables():
        if row["table"] != "migrations":
            engine._command(f"TRUNCATE TABLE catchment.{row['table']}")
    return engine


def written(store: ClickHouseStore) -> list[str]:
    """What a removal leaves in the store: rows, and changes of tables."""
    queries = [f"SELECT count() FROM catchment.{table}" for table in TABLES]
    queries.append("SELECT count() FROM system.mutations WHERE database = 'catchment'")
    return [store._text(store._writer, query, {}).strip() for query in queries]


def test_a_removal_without_room_on_the_disk_writes_nothing(
    store: ClickHouseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.insert(days())
    was = written(store)
    monkeypatch.setattr(room, "ROOM_BYTES_MIN", 1 << 60)
    with pytest.raises(StoreError, match=rf"the disk of {store._path} has .*B left") as full:
        remove(store, *ALL)
    assert full.value.passing
    with pytest.raises(StoreError, match="B left, and it needs"):
        remove(store)  # nothing to remove, but its end would be noted
    assert written(store) == was
    assert differences(store) == []
    monkeypatch.undo()
    remove(store, *ALL)
    assert ids(store) == ["1", "1-2", "1-3"]


@pytest.mark.parametrize("commands", range(10))
def test_a_removal_that_loses_its_room_ends_there_and_is_finished_by_the_next(
    store: ClickHouseStore, monkeypatch: pytest.MonkeyPatch, commands: int
) -> None:
    class Filling(Dying):
        """The disk gets full behind so many commands."""

        def command(self, *arguments: Any, **named: Any) -> None:
            assert self._left, "a command was given to an engine without room"
            super().command(*arguments, **named)
            if not self._left:
                monkeypatch.setattr(room, "ROOM_BYTES_MIN", 1 << 60)

    store.insert(days())
    if not commands:
        monkeypatch.setattr(room, "ROOM_BYTES_MIN", 1 << 60)
    filling = Expiry(lambda: Filling(store.open_handle(), commands), nullcontext)  # type: ignore[arg-type,return-value]
    with pytest.raises(StoreError, match="B left, and it needs"):
        filling.remove(ALL, threading.Event(), at=NOW)
    assert differences(store) == []
    monkeypatch.undo()
    remove(store, *ALL)
    assert ids(store) == ["1", "1-2", "1-3"]
    assert differences(store) == []


def test_what_an_earlier_removal_began_is_given_up_where_there_is_no_room(
    store: ClickHouseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.insert(days())
    store._command("SYSTEM STOP MERGES catchment.event_rows")  # so that a change stays begun
    try:
        store._command("ALTER TABLE catchment.event_rows DELETE WHERE 1 SETTINGS mutations_sync = 0")
        monkeypatch.setattr(room, "ROOM_BYTES_MIN", 1 << 60)
        with pytest.raises(StoreError, match="B left, and it needs"):
            remove(store, *ALL)
        assert not store.changes().under_way
    finally:
        store._command("SYSTEM START MERGES catchment.event_rows")


def torn(store: ClickHouseStore, table: str, keeps: Callable[[str], bool]) -> None:
    """The disk did not take the parts of a table, but for files that are kept; the engine thinks it did."""
    where = f"FROM system.parts WHERE table = '{table}' AND active AND rows > 0"
    for folder in store._text(store._writer, f"SELECT path {where}", {}).split():
        for file in Path(folder).iterdir():
            if not keeps(file.name):
                os.truncate(file, 0)


def reopen(store: ClickHouseStore) -> None:
    path = store._path
    store.close()
    store.__init__(path, Sql())  # type: ignore[misc]
    store.migrate()


@pytest.mark.parametrize("keeps", ["", "data"], ids=["all of it", "its sums"])
def test_a_note_that_the_disk_did_not_take_removes_nothing(
    store: ClickHouseStore, monkeypatch: pytest.MonkeyPatch, keeps: str
) -> None:
    store.insert(days())
    run = expiry._Pass._run

    def run_on_a_full_disk(self: Any, name: str, values: dict[str, Any]) -> None:
        run(self, name, values)
        if name == "expire_close_books":
            torn(store, "kept_from", lambda file: bool(keeps) and file.startswith(keeps))

    monkeypatch.setattr(expiry._Pass, "_run", run_on_a_full_disk)
    with pytest.raises(StoreError, match="the disk did not take all of kept_from") as failed:
        remove(store, *ALL)
    assert failed.value.passing
    reopen(store)
    assert differences(store) == []
    assert "0-2" in ids(store)
    monkeypatch.undo()
    remove(store, *ALL)
    assert ids(store) == ["1", "1-2", "1-3"]
    assert differences(store) == []


def test_an_event_that_came_again_is_not_removed_where_the_disk_did_not_take_its_name(
    store: ClickHouseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.insert(lines(*day_of(0, "e0", "again"), *day_of(5, "e5", "again")))
    run = expiry._Pass._run

    def run_on_a_full_disk(self: Any, name: str, values: dict[str, Any]) -> None:
        run(self, name, values)
        if name == "expire_spare":
            torn(store, "spared_events", lambda file: not file.startswith("data"))

    monkeypatch.setattr(expiry._Pass, "_run", run_on_a_full_disk)
    with pytest.raises(StoreError, match="the disk did not take all of spared_events"):
        remove(store, before(3))
    assert ids(store) == ["again"]
    monkeypatch.undo()
    reopen(store)
    remove(store, before(3))
    assert ids(store) == ["again"]
    assert differences(store) == []
