"""`Store` on ClickHouse through clickhouse-connect: the embedded engine (chDB) by path.

One process may open a path, so this process owns it. Every handle is used by one thread at a time: one handle writes,
and a pool of handles, made read-only for good when they are opened, answers queries within the `sql` bounds.

A handle on which a query failed is thrown away: the engine keeps what the query had written until then, and puts it
before the answer of a later query on that handle (measured, docs/decisions/0004).
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from catchment.settings import Sql
from catchment.store.guard import DATABASE, checked
from catchment.store.store import Column, QueryError, Rows, StoreDown, StoreError

# What the engine says where the machine is at fault, and no line; memory is not here, for a large line may be why.
_NOT_THE_LINES = frozenset(
    "NOT_ENOUGH_SPACE CANNOT_WRITE_TO_FILE_DESCRIPTOR CANNOT_OPEN_FILE CANNOT_CLOSE_FILE CANNOT_FSYNC"
    " CANNOT_CREATE_DIRECTORY CANNOT_TRUNCATE_FILE CANNOT_SEEK_THROUGH_FILE CANNOT_READ_FROM_FILE_DESCRIPTOR"
    " CANNOT_STATVFS CANNOT_CREATE_FILE FILE_DOESNT_EXIST TOO_MANY_PARTS ABORTED".split()
)
_ERROR_NAME = re.compile(r"\(([A-Z0-9_]+)\)\s*$")
MIGRATIONS = resources.files("catchment.store") / "migrations"
VIEW_FILES = resources.files("catchment.store") / "views"
VIEWS = (  # each after those that it reads
    "alias_owners",
    "owned_leaves",
    "leaf_paths",
    "live_leaves",
    "profile_facts",
    "profiles",
    "events",
    "users",
    "visitors",
    "companies",
    "subscriptions",
    "rejections",
    "ledger",
)

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
}
# Text in a JSON document stays text, also where it looks like a date; a key given twice keeps its first value.
JSON_SETTINGS: dict[str, Any] = {
    "input_format_try_infer_dates": 0,
    "input_format_try_infer_datetimes": 0,
    "type_json_skip_duplicated_paths": 1,
}
ANSWER_SETTINGS: dict[str, Any] = {
    "output_format_json_quote_64bit_integers": 0,
    "output_format_json_quote_64bit_floats": 0,
    "output_format_json_quote_denormals": 0,
    "output_format_json_escape_forward_slashes": 0,
    "output_format_json_named_tuples_as_objects": 1,
    "output_format_json_validate_utf8": 1,
    "do_not_merge_across_partitions_select_final": 1,
    "session_timezone": "UTC",
}
_PREFIX = re.compile(r"^(?:(?:Code: \d+\. )?DB::Exception: )+")
_VERSION_TAIL = re.compile(r"\s*\(version [^)]*\)")


class ClickHouseStore:
    """The embedded engine in the folder `path`."""

    def __init__(self, path: Path, sql: Sql) -> None:
        self._path = path
        self._sql = sql
        self._writer = self._open()
        self._readers: SimpleQueue[Client] = SimpleQueue()
        self._reader_count = 0

    def migrate(self) -> list[str]:
        """Applies `migrations/*.sql` that the store has not seen, in order of their names, then makes the views anew,
        which hold nothing. A migration that was cut off is begun again, so each statement must bear that: `CREATE`
        becomes `CREATE ... IF NOT EXISTS`. Raises `StoreError` for a store of another version."""
        self._command(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
        self._command(
            f"CREATE TABLE IF NOT EXISTS {DATABASE}.migrations"
            " (name String, digest String, applied_at DateTime64(3, 'UTC'))"
            " ENGINE = MergeTree ORDER BY name SETTINGS fsync_after_insert = 1, fsync_part_directory = 1"
        )
        fresh = self._fresh_migrations()
        for name, text in fresh.items():
            for statement in _statements(text):
                self._command(statement)
            self._command(
                "INSERT INTO catchment.migrations VALUES ({name:String}, {digest:String}, now64(3))",
                {"name": name, "digest": _digest(text)},
            )
        for name in VIEWS:
            text = _without_comments((VIEW_FILES / f"{name}.sql").read_text("utf-8"))
            self._command(f"CREATE OR REPLACE VIEW {DATABASE}.{name} AS {text}")
        for _ in range(self._sql.queries_max - self._reader_count):
            self._readers.put(self._open_reader())
            self._reader_count += 1
        return list(fresh)

    def insert(self, lines: bytes) -> None:
        """See `Store.insert`."""
        settings = INSERT_SETTINGS | JSON_SETTINGS
        try:
            self._writer.raw_insert(f"{DATABASE}.log", insert_block=lines, fmt="JSONEachRow", settings=settings)
        except (ClickHouseError, OSError) as error:
            self._writer.close()
            self._writer = self._open()
            message = _message(error)
            down = isinstance(error, OSError) or _names_the_machine(message)
            raise (StoreDown if down else StoreError)(message) from error

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Rows:
        """See `Store.query`."""
        with self._reader() as reader:
            query = checked(sql, parameters or {}, lambda text, values: self._text(reader, text, values))
            bound = query.parameters or None
            try:
                answer = json.loads(reader.raw_query(query.text, parameters=bound, fmt="JSON", use_database=False))
            except (ValueError, RecursionError) as error:
                raise QueryError(f"the answer cannot be put into JSON: {error}") from None
        columns = [Column(column["name"], column["type"]) for column in answer.get("meta", ())]
        return Rows(columns, answer.get("data", []))

    def close(self) -> None:
        """See `Store.close`."""
        for _ in range(self._reader_count):
            self._readers.get().close()
        self._reader_count = 0
        self._writer.close()

    @contextmanager
    def _reader(self) -> Iterator[Client]:
        reader = self._readers.get()
        try:
            yield reader
        except ClickHouseError as error:
            reader.close()
            reader = self._open_reader()
            raise QueryError(_message(error)) from None
        finally:
            self._readers.put(reader)

    def _fresh_migrations(self) -> dict[str, str]:
        """Name and text of those that are still to be applied."""
        texts = {file.name: file.read_text("utf-8") for file in MIGRATIONS.iterdir() if file.name.endswith(".sql")}
        listing = self._text(self._writer, "SELECT name, digest FROM catchment.migrations", {})
        applied = dict(line.split("\t") for line in listing.splitlines())
        for name, digest in sorted(applied.items()):
            if name not in texts or digest != _digest(texts[name]):
                raise StoreError(
                    f"the store in {self._path} was made by another version of Catchment ({name});"
                    " use that version, or start with a new --data-dir"
                )
        return {name: texts[name] for name in sorted(texts.keys() - applied.keys())}

    def _open(self) -> Client:
        return clickhouse_connect.get_client(interface="chdb", path=str(self._path))

    def _open_reader(self) -> Client:
        """A handle that can only read, within bounds that it cannot change."""
        bounds = {
            "max_execution_time": self._sql.seconds_max,
            "timeout_before_checking_execution_speed": 0,
            "max_result_rows": self._sql.rows_max,
            "result_overflow_mode": "throw",
            "max_memory_usage": self._sql.memory_bytes_max,
            "max_ast_depth": 500,
            "max_query_size": 1_000_000,
        }
        reader = self._open()
        reader.command(f"USE {DATABASE}")
        for name, value in (JSON_SETTINGS | ANSWER_SETTINGS | bounds | {"readonly": 1}).items():
            reader.command(f"SET {name} = {value!r}")
        return reader

    def _command(self, statement: str, parameters: dict[str, Any] | None = None) -> None:
        try:
            self._writer.command(statement, parameters=parameters)
        except ClickHouseError as error:
            raise StoreError(_message(error)) from error

    @staticmethod
    def _text(client: Client, query: str, parameters: Mapping[str, Any]) -> str:
        return client.raw_query(query, parameters=dict(parameters), use_database=False).decode()


def _statements(text: str) -> list[str]:
    """The statements of a migration file; each ends with a semicolon at the end of a line."""
    found = []
    for part in re.split(r";[ \t]*(?:\n|$)", text):
        if statement := _without_comments(part):
            found.append(re.sub(r"^CREATE (TABLE|VIEW|MATERIALIZED VIEW) ", r"CREATE \1 IF NOT EXISTS ", statement))
    return found


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if not line.startswith("--")).strip()


def _digest(migration: str) -> str:
    return hashlib.sha256("\n".join(_statements(migration)).encode()).hexdigest()[:16]


def _names_the_machine(message: str) -> bool:
    """Whether the engine says that no line is why it failed."""
    name = _ERROR_NAME.search(message)
    return "No space left on device" in message or (name is not None and name[1] in _NOT_THE_LINES)


def _message(error: Exception) -> str:
    """The engine's message without its stack and version."""
    text = _VERSION_TAIL.sub("", str(error).split("\n", 1)[0])
    return _PREFIX.sub("", text).strip()
