"""Handles that can only read, within bounds that a query cannot change.

A handle on which a query failed is thrown away: the engine keeps what the query had written until then, and puts it
before the answer of a later query on that handle (measured, docs/decisions/0004).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from catchment.settings import Sql
from catchment.store.failures import message_of
from catchment.store.guard import DATABASE
from catchment.store.store import QueryError
from catchment.store.suggestions import in_our_words

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


def restrict(reader: Client, bounds: Sql) -> None:
    """Makes a fresh handle one that can only read, for good. Raises `ClickHouseError`, and closes it then."""
    settings = (
        JSON_SETTINGS
        | ANSWER_SETTINGS
        | {
            "max_execution_time": bounds.seconds_max,
            "timeout_before_checking_execution_speed": 0,
            "max_result_rows": bounds.rows_max,
            "max_result_bytes": bounds.answer_bytes_max,
            "result_overflow_mode": "throw",
            "max_memory_usage": bounds.memory_bytes_max,
            "max_ast_depth": 500,
            "max_query_size": 1_000_000,
            "max_bytes_ratio_before_external_group_by": 0,  # nothing of a query goes to the disk
            "max_bytes_ratio_before_external_sort": 0,
        }
    )
    try:
        reader.command(f"USE {DATABASE}")
        for name, value in (settings | {"readonly": 1}).items():
            reader.command(f"SET {name} = {value!r}")
    except BaseException:
        reader.close()
        raise


class Readers:
    """Handles for queries, each used by one thread at a time; one on which a query failed is thrown away."""

    def __init__(self, open_reader: Callable[[], Client], count: int) -> None:
        self._open_reader = open_reader
        self._count = count
        self._free: SimpleQueue[Client | None] = SimpleQueue()  # None behind the last one: there will be no more
        for _ in range(count):
            self._free.put(open_reader())

    @contextmanager
    def one(self) -> Iterator[Client]:
        """Waits until one is free. Raises `QueryError` where the engine fails, or is being closed."""
        reader = self._free.get()
        if reader is None:
            self._free.put(None)
            raise QueryError("the server is being stopped")
        try:
            yield reader
        except ClickHouseError as error:
            reader.close()
            with suppress(ClickHouseError):  # else the next query fails on this one, and tries again to open another
                reader = self._open_reader()
            raise QueryError(in_our_words(message_of(error))) from None
        finally:
            self._free.put(reader)

    def close(self) -> None:
        """Waits for those in use; whoever waits for one meanwhile gets none."""
        for _ in range(self._count):
            if reader := self._free.get():
                reader.close()
        self._free.put(None)
