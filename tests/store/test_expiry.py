"""What is too old goes from the embedded ClickHouse, whatever is killed in between, and the books balance."""

import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from catchment.settings import Sql
from catchment.store.clickhouse import ClickHouseStore
from catchment.store.expiry import Cutoffs, Expiry, Removed
from catchment.store.store import StoreError
from tests.conftest import until
from tests.store.books import refusal, tally
from tests.store.contract import event, lines, update

DAY_S = 86_400
FIRST = int(datetime(2025, 11, 1, tzinfo=UTC).timestamp())
NOW = FIRST + 30 * DAY_S
SECRET = "a-secret-0c7e41f3"


def at(day: int, offset_us: int = 0) -> int:
    """Noon of a day, the 1st of November being 0, in microseconds."""
    return (FIRST + day * DAY_S + DAY_S // 2) * 1_000_000 + offset_us


def before(day: int, app: str = "a", source: str = "moesif", **kinds: int) -> Cutoffs:
    """Everything from that day on is kept, or of each kind from its own."""
    days = kinds or {"events": day, "rejections": day}
    return Cutoffs(app, source, **{kind: FIRST + of_kind * DAY_S for kind, of_kind in days.items()})


def day_of(day: int, edge: str, *names: str) -> list[dict[str, Any]]:
    """Events of a day of which the edge told the total."""
    records = [event(name, received_us=at(day, number)) for number, name in enumerate(names)]
    records[0] |= {"edge": edge, "tally": len(names)}
    return records


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


def remove(store: ClickHouseStore, *cutoffs: Cutoffs) -> Removed:
    found = Expiry(store.open_handle, nullcontext).remove(cutoffs, threading.Event(), at=NOW)
    assert found is not None
    return found


def ids(store: ClickHouseStore) -> list[str]:
    return [row["event_id"] for row in store.query("SELECT event_id FROM events ORDER BY app, event_id").rows]


def differences(store: ClickHouseStore) -> list[dict[str, Any]]:
    return store.query("SELECT * FROM ledger WHERE difference != 0").rows


def test_what_arrived_before_goes_and_what_came_later_stays(store: ClickHouseStore) -> None:
    store.insert(lines(*day_of(0, "e", "old", "too"), *day_of(1, "e", "new")))
    store.insert(lines(event("late", time="2020-01-01T00:00:00", received_us=at(1, 5), edge="f", tally=1)))
    assert remove(store, before(1)) == Removed(events=2, deliveries=2, tallies=1)
    assert ids(store) == ["late", "new"]
    [books] = store.query("SELECT received, stored, difference FROM ledger").rows
    assert books == {"received": 2, "stored": 2, "difference": 0}


def test_only_the_application_and_source_that_are_meant_lose_something(store: ClickHouseStore) -> None:
    others = [event("1", app="b"), event("1", source="batch"), event("1", app="a/moesif"), event("1", app="")]
    store.insert(lines(*[other | {"received_us": at(0)} for other in others], *day_of(0, "e", "1")))
    store.insert(lines(refusal(1, received_us=at(0))))
    assert remove(store, before(1, events=1)) == Removed(events=1, deliveries=1, tallies=1)
    assert len(ids(store)) == len(others)
    assert store.query("SELECT count() AS n FROM rejections").rows == [{"n": 1}]


def test_refused_calls_and_their_replays_go_by_their_own_days(store: ClickHouseStore) -> None:
    replay = {"app": "a", "source": "moesif", "kind": "replay", "event_id": "r1", "records": 1}
    store.insert(
        lines(
            *day_of(0, "e", "kept"),
            refusal(1, received_us=at(0, 9), edge="e", tally=2),
            replay | {"received_us": at(0, 10)},
            refusal(2, received_us=at(1), edge="e", tally=1),
        )
    )
    assert remove(store, before(1, rejections=1)) == Removed(rejections=1, replays=1, tallies=1)
    assert [row["rejection_id"] for row in store.query("SELECT rejection_id FROM rejections").rows] == ["r2"]
    assert ids(store) == ["kept"]
    assert differences(store) == []


def test_refused_calls_of_no_application_go_by_days_of_their_own(store: ClickHouseStore) -> None:
    store.insert(
        lines(
            refusal(1, app="", received_us=at(0), edge="e", tally=1),
            refusal(2, app="", source="batch", received_us=at(0), edge="e", tally=1),
            refusal(3, received_us=at(0), edge="e", tally=1),
            refusal(4, app="", received_us=at(1), edge="e", tally=1),
        )
    )
    assert remove(store, before(1, "", "", rejections=1)) == Removed(rejections=2, tallies=2)
    assert {row["rejection_id"] for row in store.query("SELECT rejection_id FROM rejections").rows} == {"r3", "r4"}
    assert differences(store) == []


def test_an_api_call_loses_what_it_carried_and_stays(store: ClickHouseStore) -> None:
    carried = {
        "payload": {"secret": SECRET},
        "request_headers": f'{{"X":"{SECRET}"}}',
        "request_body": SECRET,
        "response_headers": f'{{"X":"{SECRET}"}}',
        "response_body": SECRET,
        "response_encoding": "base64",
    }
    call = event("call", kind="api_call", received_us=at(0), status=201, properties={"k": 1}, edge="e", tally=3)
    action = event("action", received_us=at(0, 1), payload={"not": "a body"})
    young = event("young", kind="api_call", received_us=at(1), edge="f", tally=1)
    store.insert(lines(call | carried, action, event("2", kind="api_call", received_us=at(0, 2)), young | carried))
    assert remove(store, before(1, bodies=1)) == Removed(bodies=2)
    rows = {row["event_id"]: row for row in store.query("SELECT * FROM events").rows}
    assert all(rows["call"][column] == "" for column in carried)
    assert (rows["call"]["status"], rows["call"]["properties"]) == (201, {"k": 1})
    assert all(SECRET in rows["young"][column] for column in carried if column != "response_encoding")
    assert json.loads(rows["action"]["payload"]) == {"not": "a body"}
    assert len(store.query("SELECT * FROM ledger").rows) == 2, "books stay open where nothing was removed"
    assert differences(store) == []
    assert remove(store, before(1, bodies=1)) == Removed()


def test_an_event_that_came_again_since_is_kept_for_its_days_from_then(store: ClickHouseStore) -> None:
    store.insert(lines(*day_of(0, "e", "again", "once")))
    store.insert(lines(*day_of(5, "f", "again")))
    for merged in (False, True):
        if merged:
            store._command("OPTIMIZE TABLE catchment.event_rows FINAL")
        remove(store, before(3))
        assert ids(store) == ["again"]
        assert differences(store) == []
    remove(store, before(6))
    assert ids(store) == []
    assert differences(store) == []


def test_many_old_events_that_came_again_are_found_in_shares(
    store: ClickHouseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catchment.store.expiry.IDENTITIES_MAX", 7)
    names = [str(number) for number in range(100)]
    store.insert(lines(*day_of(0, "e", *names)))
    store.insert(lines(*day_of(5, "f", *names[::3])))
    remove(store, before(3))
    assert sorted(ids(store)) == sorted(names[::3])
    assert differences(store) == []


def test_a_copy_that_comes_after_the_removal_is_a_new_event(store: ClickHouseStore) -> None:
    store.insert(lines(*day_of(0, "e", "1")))
    remove(store, before(1))
    store.insert(lines(*day_of(5, "f", "1")))
    [books] = store.query("SELECT received, stored, duplicate, difference FROM ledger").rows
    assert books == {"received": 1, "stored": 1, "duplicate": 0, "difference": 0}


def test_profiles_stay(store: ClickHouseStore) -> None:
    store.insert(lines(update("u", {"k": 1}, 0, received_us=at(0), edge="e", tally=1)))
    assert remove(store, before(1)) == Removed(deliveries=1, tallies=1)
    assert [row["user_id"] for row in store.query("SELECT user_id FROM users").rows] == ["u"]
    assert differences(store) == []


def test_what_was_removed_does_not_alarm_when_the_log_is_loaded_once_more(store: ClickHouseStore) -> None:
    part = lines(*day_of(0, "e", "1", "2"), refusal(7, received_us=at(0, 7), edge="e", tally=3))
    store.insert(part)
    remove(store, before(1))
    store.insert(part)
    assert differences(store) == []
    remove(store, before(1))
    assert ids(store) == []


# Whatever is killed in between


class Dying:
    """A handle whose process dies at a command."""

    def __init__(self, client: Client, commands: int) -> None:
        self._client = client
        self._left = commands

    def command(self, *arguments: Any, **named: Any) -> None:
        if not self._left:
            raise ClickHouseError("killed")
        self._left -= 1
        self._client.command(*arguments, **named)

    def raw_query(self, *arguments: Any, **named: Any) -> bytes:
        return self._client.raw_query(*arguments, **named)

    def close(self) -> None:
        self._client.close()


def days() -> bytes:
    """Two days with all that there may be: duplicates within and across days, refusals, updates, API calls."""
    records = []
    for day in (0, 1):
        names = ("1", f"{day}-2", f"{day}-3", f"{day}-3")
        records += day_of(day, f"e{day}", *names)
        records[-2] |= {"kind": "api_call", "payload": {"secret": SECRET}}
        records += [
            refusal(day, received_us=at(day, 8), count=5, edge=f"e{day}", tally=9),
            refusal(9, app="", received_us=at(day, 8), edge=f"e{day}", tally=1),
            update("u", {"k": day}, day, received_us=at(day, 9), edge=f"e{day}", tally=10),
            {"app": "a", "source": "moesif", "kind": "replay", "event_id": f"r{day}", "received_us": at(day, 9)},
            tally(10, f"e{day}", received_us=at(day, 9)),
        ]
    return lines(*records)


ALL = (before(1, events=1, rejections=1, bodies=1), before(1, "", "", rejections=1))


@pytest.mark.parametrize("commands", range(11))
def test_a_removal_that_is_cut_off_leaves_books_that_balance_and_is_finished_by_the_next(
    store: ClickHouseStore, commands: int
) -> None:
    store.insert(days())
    dying = Expiry(lambda: Dying(store.open_handle(), commands), nullcontext)  # type: ignore[arg-type,return-value]
    with nullcontext() if commands == 10 else pytest.raises(StoreError, match="killed"):
        dying.remove(ALL, threading.Event(), at=NOW)
    assert differences(store) == []
    remove(store, *ALL)
    assert ids(store) == ["1", "1-2", "1-3"]
    assert [row["rejection_id"] for row in store.query("SELECT rejection_id FROM rejections").rows] == ["r9", "r1"]
    assert differences(store) == []


FAILING = "ALTER TABLE catchment.event_rows UPDATE name = toString(throwIf(1)) WHERE 1 SETTINGS mutations_sync = 0"


class Failing(Dying):
    """A handle on which the engine cannot write the events anew."""

    def command(self, statement: str, *arguments: Any, **named: Any) -> None:
        super().command(FAILING if "ALTER TABLE catchment.event_rows" in statement else statement, *arguments, **named)


def test_a_removal_that_fails_is_told_and_leaves_nothing_that_is_tried_for_ever(store: ClickHouseStore) -> None:
    store.insert(days())
    failing = Expiry(lambda: Failing(store.open_handle(), 99), nullcontext)  # type: ignore[arg-type,return-value]
    with pytest.raises(StoreError, match="throwIf"):
        failing.remove(ALL, threading.Event(), at=NOW)
    assert differences(store) == []
    store._command(FAILING)
    remove(store, *ALL)
    assert ids(store) == ["1", "1-2", "1-3"]


class Noting(Dying):
    """A handle that notes each command, and whether nothing is inserted meanwhile."""

    def __init__(self, client: Client, paused: list[bool], noted: list[tuple[str, bool]]) -> None:
        super().__init__(client, 99)
        self._paused, self._noted = paused, noted

    def command(self, statement: str, *arguments: Any, **named: Any) -> None:
        what = " ".join(line for line in statement.splitlines() if not line.startswith("--"))
        self._noted.append((what, bool(self._paused)))
        super().command(statement, *arguments, **named)


def test_whatever_changes_the_store_is_begun_while_nothing_is_inserted_and_no_backup_counts(
    store: ClickHouseStore,
) -> None:
    store.insert(days())
    paused, noted = list[bool](), list[tuple[str, bool]]()

    @contextmanager
    def pause() -> Iterator[None]:
        assert not paused, "the pause is not to be taken twice"
        paused.append(True)
        yield
        paused.clear()

    noting = Expiry(lambda: Noting(store.open_handle(), paused, noted), pause)  # type: ignore[arg-type,return-value]
    assert noting.remove(ALL, threading.Event(), at=NOW) is not None
    assert {what.split("catchment.")[1].split()[0] for what, _ in noted} == {
        "kept_from",
        "spared_events",
        "event_rows",
        "rejection_rows",
        "replay_rows",
        "deliveries",
        "edge_tallies",
    }
    assert [what for what, inside in noted if not inside] == []


KILLED = """
    import json, os, signal, sys, threading
    from contextlib import nullcontext
    from pathlib import Path
    from catchment.settings import Sql
    from catchment.store.clickhouse import ClickHouseStore
    from catchment.store.expiry import Cutoffs, Expiry, _Pass

    path, mode = Path(sys.argv[1]), sys.argv[2]
    store = ClickHouseStore(path, Sql())
    store.migrate()
    if mode == "kill":
        store.insert(sys.stdin.buffer.read())
        _Pass._wait = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    cutoffs = [Cutoffs(*cutoff) for cutoff in json.loads(sys.argv[3])]
    print(json.dumps(store.query("SELECT * FROM ledger WHERE difference != 0").rows))
    Expiry(store.open_handle, nullcontext).remove(cutoffs, threading.Event(), at=1)
    print(json.dumps(store.query("SELECT event_id FROM events ORDER BY event_id").rows))
    print(json.dumps(store.query("SELECT * FROM ledger WHERE difference != 0").rows))
    store.close()
"""


def test_a_removal_whose_process_is_killed_is_finished_when_the_store_is_opened_again(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "store")]
    cutoffs = json.dumps(ALL)
    killed = subprocess.run([*arguments, "kill", cutoffs], input=days(), capture_output=True, timeout=120)
    assert killed.returncode == -9, killed.stderr.decode()
    again = subprocess.run([*arguments, "again", cutoffs], capture_output=True, timeout=120)
    assert again.returncode == 0, again.stderr.decode()
    balanced, left, balanced_after = map(json.loads, again.stdout.decode().splitlines())
    assert (balanced, balanced_after) == ([], [])
    assert [row["event_id"] for row in left] == ["1", "1-2", "1-3"]


def test_a_stop_is_obeyed_between_two_steps(store: ClickHouseStore) -> None:
    store.insert(days())
    stop = threading.Event()
    stop.set()
    assert Expiry(store.open_handle, nullcontext).remove(ALL, stop, at=NOW) is None
    assert differences(store) == []


class Endless(Dying):
    """A handle on which one statement takes far longer than anybody waits, and at whose beginning a stop comes."""

    def __init__(self, client: Client, statement: str, stop: threading.Event) -> None:
        super().__init__(client, 99)
        self._statement, self._stop = statement, stop
        self.ended = False

    def command(self, statement: str, *arguments: Any, **named: Any) -> None:
        if self._statement in statement:
            self._take_long("INSERT INTO catchment.spared_events")
        super().command(statement, *arguments, **named)

    def raw_query(self, statement: str, *arguments: Any, **named: Any) -> bytes:
        if self._statement in statement:
            self._take_long("")
        return super().raw_query(statement, *arguments, **named)

    def _take_long(self, into: str) -> None:
        self._stop.set()
        endless = f"{into} SELECT sum(cityHash64(number)) FROM numbers({{rows:UInt64}})"
        self._client.command(endless, parameters={"rows": 60_000_000_000})
        self.ended = True


@pytest.mark.parametrize("statement", ["AS tallies", "INSERT INTO catchment.spared_events"])
def test_a_stop_cancels_the_statement_that_runs_and_the_next_pass_goes_on(
    store: ClickHouseStore, statement: str
) -> None:
    store.insert(days())
    stop, handles = threading.Event(), list[Endless]()

    def open_handle() -> Client:
        handles.append(Endless(store.open_handle(), statement, stop))
        return handles[-1]  # type: ignore[return-value]

    assert Expiry(open_handle, nullcontext).remove(ALL, stop, at=NOW) is None
    assert stop.is_set()
    assert not any(handle.ended for handle in handles)
    assert differences(store) == []
    remove(store, *ALL)
    assert ids(store) == ["1", "1-2", "1-3"]
    assert differences(store) == []


class Stopping(Dying):
    """A handle that is told to stop behind the first command that changes a table."""

    def __init__(self, client: Client, stop: threading.Event) -> None:
        super().__init__(client, 99)
        self._stop = stop

    def command(self, statement: str, *arguments: Any, **named: Any) -> None:
        super().command(statement, *arguments, **named)
        if "ALTER TABLE" in statement:
            self._stop.set()


def test_a_stop_gives_up_what_is_being_rewritten_and_the_next_pass_goes_on(store: ClickHouseStore) -> None:
    store.insert(days())
    stop = threading.Event()
    store._command("SYSTEM STOP MERGES catchment.event_rows")  # so that it takes for ever
    try:
        stopping = Expiry(lambda: Stopping(store.open_handle(), stop), nullcontext)  # type: ignore[arg-type,return-value]
        assert stopping.remove(ALL, stop, at=NOW) is None
        assert stop.is_set()
        assert not store.changes().under_way
    finally:
        store._command("SYSTEM START MERGES catchment.event_rows")
    assert "0-2" in ids(store)
    assert differences(store) == []
    remove(store, *ALL)
    assert ids(store) == ["1", "1-2", "1-3"]
    assert differences(store) == []


LEAVING = """
    import os, sys
    from functools import partial
    from pathlib import Path
    from catchment.settings import Sql
    from catchment.store import clickhouse
    from catchment.store.clickhouse import ClickHouseStore

    clickhouse.CLOSE_S_MAX = 0.1
    store = ClickHouseStore(Path(sys.argv[1]), Sql())
    if sys.argv[2] == "leave":
        store.leave_at_close(partial(os._exit, 7))
    store.migrate()
    if sys.argv[2] == "leave":
        store.insert(sys.stdin.buffer.read())
        store._command("ALTER TABLE catchment.event_rows DELETE WHERE NOT sleep(3) SETTINGS mutations_sync = 0")
        while store._text(store._writer, "SELECT count() FROM system.merges WHERE is_mutation", {}) == "0\\n":
            pass
        store._command("KILL MUTATION WHERE database = 'catchment'")
    else:
        print([row["event_id"] for row in store.query("SELECT event_id FROM events ORDER BY event_id").rows])
        print(store.query("SELECT * FROM ledger WHERE difference != 0").rows)
    store.close()
"""


def test_an_engine_that_does_not_end_in_time_is_left_and_nothing_is_lost(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", textwrap.dedent(LEAVING), str(tmp_path / "store")]
    left = subprocess.run([*arguments, "leave"], input=days(), capture_output=True, timeout=120)
    assert left.returncode == 7, left.stderr.decode()
    again = subprocess.run([*arguments, "again"], capture_output=True, timeout=120)
    assert again.stdout.decode().splitlines() == ["['0-2', '0-3', '1', '1-2', '1-3']", "[]"], again.stderr.decode()


SLOW_TO_END = """
    import os, sys, time
    from functools import partial
    from pathlib import Path
    from catchment import config, wiring
    from catchment.store import clickhouse
    from catchment.store.clickhouse import ClickHouseStore

    clickhouse.CLOSE_S_MAX = 0.1
    data_dir = Path(sys.argv[1])
    config.ensure_file(data_dir)
    settings = config.load(data_dir)
    leave = partial(os._exit, 7)
    close = ClickHouseStore._close
"""


def in_a_process(folder: Path, body: str) -> "subprocess.CompletedProcess[str]":
    program = textwrap.dedent(SLOW_TO_END) + textwrap.dedent(body)
    return subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True, timeout=120)


def test_why_a_store_is_not_opened_is_told_however_long_its_engine_takes_to_end(tmp_path: Path) -> None:
    done = in_a_process(
        tmp_path,
        """
        store = wiring.open_store(settings, data_dir)
        store._command("INSERT INTO catchment.migrations VALUES ('9999_later.sql', 'x', now64(3))")
        store.close()
        ClickHouseStore._close = lambda self: (time.sleep(2), close(self))
        wiring.open_store(settings, data_dir, leave=leave)
        """,
    )
    assert done.returncode == 1, done.stderr
    assert "OtherVersion: the store in " in done.stderr


def test_an_engine_that_cannot_end_in_order_is_told(tmp_path: Path) -> None:
    done = in_a_process(
        tmp_path,
        """
        def fail(self):
            close(self)
            raise RuntimeError("it cannot be closed")

        clickhouse.CLOSE_S_MAX = 60
        ClickHouseStore._close = fail
        wiring.open_store(settings, data_dir, leave=leave).close()
        """,
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.endswith("RuntimeError: it cannot be closed\n")


# The disk


def holding(path: Path, text: bytes) -> list[str]:
    """The files below a folder that have the text in them."""
    found = []
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                content = Path(folder, name).read_bytes()
            except OSError:
                continue  # dropped meanwhile, or a link to a folder
            if text in content:
                found.append(f"{folder}/{name}")
    return found


def test_what_was_removed_is_gone_from_the_disk(store: ClickHouseStore) -> None:
    marks = {kind: f"{kind}-{os.urandom(24).hex()}" for kind in ("event", "body", "rejection")}
    store.insert(
        lines(
            *day_of(0, "e", marks["event"]),
            event("b", kind="api_call", received_us=at(2), payload={"x": marks["body"]}, request_body=marks["body"]),
            refusal(1, received_us=at(0), payload=marks["rejection"]),
        )
    )
    for mark in marks.values():
        assert holding(store._path, mark.encode())
    tables = [row["table"] for row in store.tables()]
    for table in tables:  # it is the same in less time
        store._command(f"ALTER TABLE catchment.{table} MODIFY SETTING old_parts_lifetime = 1")
    remove(store, before(1, events=1, rejections=1, bodies=3))
    for mark in marks.values():
        until(lambda mark=mark: not holding(store._path, mark.encode()), within_s=300)  # type: ignore[misc]
    store._migrator._settle_tables()
