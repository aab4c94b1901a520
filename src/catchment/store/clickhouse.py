"""`Store` on ClickHouse through clickhouse-connect: the embedded engine (chDB) by path.

One process may open a path, so this process owns it. Every handle is used by one thread at a time: one handle writes,
and a pool of handles, made read-only for good when they are opened (`readers`), answers queries within bounds.
"""

import json
import logging
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import clickhouse_connect
import msgspec
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from catchment.settings import Sql
from catchment.sizes import size_text
from catchment.store import queries, room, schema
from catchment.store.failures import is_for_want_of_memory, is_passing, message_of
from catchment.store.guard import DATABASE, checked
from catchment.store.migrator import Migrator
from catchment.store.parts import Parts, PartsWatch
from catchment.store.readers import JSON_SETTINGS, Readers, restrict
from catchment.store.store import Answer, AskByName, QueryError, StoreError
from catchment.store.suggestions import no_such_table

CLOSE_S_MAX = 10.0  # the engine looks whether it is to end behind each block that it writes, so not while rows go
INCOMING_FOLDER = "incoming"  # beside the store: what is being inserted
INSERT_SETTINGS: dict[str, Any] = {
    "date_time_input_format": "best_effort",
    "input_format_skip_unknown_fields": 1,
    "input_format_json_read_objects_as_strings": 1,
    "input_format_json_read_numbers_as_strings": 1,
    "input_format_json_read_bools_as_strings": 1,
    "input_format_json_read_arrays_as_strings": 1,
    "max_partitions_per_insert_block": 0,
    "async_insert": 0,
    # Copies within one insert may stay until the next merge: the views collapse them anyway, and it saves a fifth.
    "optimize_on_insert": 0,
    # A large insert takes a fifth less time where a second processor is idle; in which order the tables are filled does
    # not matter, for whatever is cut off is put in again.
    "parallel_view_processing": 1,
}
_TABLES = """
SELECT name, toString(uuid), ifNull(total_rows, 0) FROM system.tables
WHERE database = 'catchment' AND engine LIKE '%MergeTree' AND name != 'migrations'
ORDER BY name
"""
_CHANGES = """
SELECT countIf(NOT is_done), cityHash64(arraySort(groupArray((table, mutation_id))))
FROM system.mutations WHERE database = 'catchment'
"""

logger = logging.getLogger(__name__)


class Changes(NamedTuple):
    """Of tables, by `ALTER ... DELETE` or `UPDATE`: whether one is under way, and so done in some parts only; and what
    tells those that were begun so far from any others."""

    under_way: bool
    begun: str


class ClickHouseStore:
    """The embedded engine in the folder `path`."""

    def __init__(self, path: Path, sql: Sql) -> None:
        self._path = path
        self._sql = sql
        self._incoming = path.with_name(INCOMING_FOLDER)
        shutil.rmtree(self._incoming, ignore_errors=True)  # what a process that was killed was inserting
        if path.exists():
            room.remove_torn_views(path, schema.VIEWS)
        else:
            room.require(path.parent)
        try:
            self._writer = self.open_handle()
        except ClickHouseError as error:
            raise StoreError(message_of(error)) from error
        self._migrator = Migrator(path, self._command, lambda query, values: self._text(self._writer, query, values))
        self._readers: Readers | None = None
        self._own_readers: Readers | None = None
        self._inserted = Parts(self.open_handle)
        self._watch: PartsWatch | None = None
        self._leave: Callable[[], None] | None = None

    def migrate(self) -> list[str]:
        """Brings the schema up to date, and makes the store ready to be asked; the names of the migrations that were
        applied. Raises as `Migrator.migrate`."""
        applied = self._migrator.migrate()
        if self._readers is None:
            self._readers = Readers(self._open_reader, self._sql.queries_max)
            self._own_readers = Readers(self._open_reader, 1)
        self._inserted.accept()
        return applied

    def migrate_to(self, known: Mapping[str, str]) -> None:
        """See `Migrator.migrate_to`."""
        self._migrator.migrate_to(known)

    def schema(self) -> dict[str, str]:
        """See `Migrator.schema`."""
        return self._migrator.schema()

    def is_current(self) -> bool:
        """See `Migrator.is_current`."""
        return self._migrator.is_current()

    def engine(self) -> str:
        """The engine's version."""
        return self._text(self._writer, "SELECT version()", {}).strip()

    def freeze(self, name: str) -> dict[str, Path]:
        """Holds the parts of all tables fast as hard links, until somebody removes `shadow/NAME`; for each table the
        folder of its parts, from the store's. `name` is of letters, digits and `_`, or the engine spells the folder in
        another way. Takes milliseconds. Raises `StoreError`."""
        handle = self.open_handle()
        try:
            found = {}
            for table, (folder, rows) in self._tables(handle).items():
                handle.command(f"ALTER TABLE {DATABASE}.{table} FREEZE WITH NAME '{name}'")
                found[table] = Path("shadow") / name / folder
                if rows and not (self._path / found[table]).is_dir():
                    raise StoreError(f"the engine did not freeze {table} where it was expected")
            return found
        except ClickHouseError as error:
            raise StoreError(message_of(error)) from error
        finally:
            handle.close()

    def changes(self) -> Changes:
        """Those of the store, now. Raises `StoreError`."""
        handle = self.open_handle()
        try:
            unfinished, begun = self._text(handle, _CHANGES, {}).split()
        except ClickHouseError as error:
            raise StoreError(message_of(error)) from error
        finally:
            handle.close()
        return Changes(unfinished != "0", begun)

    def attachable(self) -> dict[str, Path]:
        """For each table, the folder that parts are put into before `attach`."""
        return {table: self._path / folder / "detached" for table, (folder, _) in self._tables(self._writer).items()}

    def attach(self, table: str, part: str) -> None:
        """Takes a part that was put into the table's folder. Raises `StoreError`."""
        self._command(f"ALTER TABLE {DATABASE}.{table} ATTACH PART {{part:String}}", {"part": part})

    def stop_merges(self) -> None:
        """Until the store is closed, so that rows can be counted that a merge would collapse."""
        self._command("SYSTEM STOP MERGES")

    def rows(self) -> dict[str, int]:
        """Rows of each table, before copies are collapsed."""
        return {table: rows for table, (_, rows) in self._tables(self._writer).items()}

    def insert(self, lines: bytes) -> None:
        """See `Store.insert`."""
        settings = INSERT_SETTINGS | JSON_SETTINGS
        room.require(self._path)
        try:
            with _temporary_files_in(self._incoming):
                self._writer.raw_insert(f"{DATABASE}.log", insert_block=lines, fmt="JSONEachRow", settings=settings)
        except (ClickHouseError, OSError) as error:
            self._writer.close()
            self._writer = self.open_handle()
            divisible = is_for_want_of_memory(error)
            raise StoreError(message_of(error), passing=is_passing(error), divisible=divisible) from error
        try:
            found = self.broken_parts()
        except ClickHouseError as error:
            raise StoreError(message_of(error), passing=True) from error
        if found:
            raise StoreError(f"the disk did not take all of {', '.join(found)}", passing=True)

    def broken_parts(self) -> list[str]:
        """Parts that came since the store was opened and are not whole on the disk. For the thread that inserts."""
        return [str(part) for part in self._inserted.broken()]

    def watch_parts(self, give_up: Callable[[], None]) -> None:
        """Looks at all parts from now on until the store is closed; `give_up` ends the process (`parts`)."""
        self._watch = PartsWatch(Parts(self.open_handle), give_up)
        self._watch.start()

    def leave_at_close(self, leave: Callable[[], None]) -> None:
        """From now on `leave` ends the process, in order, where the engine has not ended `CLOSE_S_MAX` after `close`.
        What it was writing then is no part yet, as where it is killed."""
        self._leave = leave

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Answer:
        """See `Store.query`."""
        assert self._readers, "migrate comes first"
        with self._readers.one() as reader:
            return self._answer(reader, sql, parameters or {})

    @contextmanager
    def asking(self) -> Iterator[AskByName]:
        """See `Store.asking`."""
        assert self._own_readers, "migrate comes first"
        with self._own_readers.one() as reader:
            yield lambda name, /, **parameters: self._answer(reader, queries.text(name), parameters).rows

    def tables(self) -> list[dict[str, Any]]:
        """See `Store.tables`."""
        assert self._own_readers, "migrate comes first"
        with self._own_readers.one() as reader:
            found = reader.raw_query(queries.text("tables"), fmt="JSONEachRow", use_database=False)
        return [json.loads(line) for line in found.splitlines()]

    def close(self) -> None:
        """See `Store.close`."""
        if self._leave is None:
            self._close()
            return
        ended: Future[None] = Future()
        threading.Thread(target=self._close_and_tell, args=(ended,), name="store-close", daemon=True).start()
        if not wait([ended], CLOSE_S_MAX).done:
            logger.info("store: the engine is not waited for; what it rewrites begins anew after the next start")
            self._leave()
        ended.result()

    def _close_and_tell(self, ended: "Future[None]") -> None:
        try:
            self._close()
        except BaseException as error:
            ended.set_exception(error)
        else:
            ended.set_result(None)

    def _close(self) -> None:
        try:
            for readers in (self._readers, self._own_readers):
                if readers:
                    readers.close()
            self._inserted.close()
            self._writer.close()
        finally:
            if self._watch:
                self._watch.close()

    def _answer(self, reader: Client, sql: str, parameters: Mapping[str, Any]) -> Answer:
        query = checked(sql, parameters, lambda text, values: self._text(reader, text, values))
        bound = query.parameters or None
        answer = reader.raw_query(query.text, parameters=bound, fmt="JSON", use_database=False)
        if len(answer) > self._sql.answer_bytes_max:
            has, may_have = size_text(len(answer)), size_text(self._sql.answer_bytes_max)
            most = f"the answer has {has} as JSON, and may have {may_have}"
            raise QueryError(f"{most} (sql.answer_bytes_max); ask for fewer rows or columns, or for sums of them")
        try:
            decoded = msgspec.json.decode(answer, type=Answer)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise QueryError(f"the answer cannot be put into JSON: {error}") from None
        if query.described and not decoded.rows:
            raise QueryError(no_such_table(query.described))
        return decoded

    def _tables(self, handle: Client) -> dict[str, tuple[Path, int]]:
        """Those that keep rows, but for the list of migrations: the folder of the parts, from the store's, and the
        number of rows."""
        listing = (line.split("\t") for line in self._text(handle, _TABLES, {}).splitlines())
        return {table: (Path("store") / uuid[:3] / uuid, int(rows)) for table, uuid, rows in listing}

    def open_handle(self) -> Client:
        """A handle of the caller's own, that can do everything; for one thread at a time, and closed by it."""
        return clickhouse_connect.get_client(interface="chdb", path=str(self._path))

    def _open_reader(self) -> Client:
        reader = self.open_handle()
        restrict(reader, self._sql)
        return reader

    def _command(self, statement: str, parameters: dict[str, Any] | None = None) -> None:
        try:
            self._writer.command(statement, parameters=parameters)
        except ClickHouseError as error:
            raise StoreError(message_of(error)) from error

    @staticmethod
    def _text(client: Client, query: str, parameters: Mapping[str, Any]) -> str:
        return client.raw_query(query, parameters=dict(parameters), use_database=False).decode()


@contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """The client hands lines to the engine in a file, which stays where the process is killed: nobody's events belong
    into the system's folder."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
