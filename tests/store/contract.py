"""The contract of the store as tests; every implementation inherits `StoreContract` and gives it a `store`."""

import json
from typing import Any

import pytest

from catchment.record import profile_leaves
from catchment.store.store import Column, QueryError, Store, StoreError

NOON = 1_763_812_800_000_000  # 2025-11-22 12:00:00 UTC in microseconds


def lines(*records: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def event(event_id: str, **fields: Any) -> dict[str, Any]:
    given = {
        "app": "a",
        "source": "moesif",
        "kind": "action",
        "event_id": event_id,
        "received_us": NOON,
        "payload": {"action_name": "N"},
        "name": "N",
        "time": "2025-11-22T11:59:58.123456",
    }
    return given | fields


def update(user_id: str, document: dict[str, Any], order: int, **fields: Any) -> dict[str, Any]:
    given = {"app": "a", "source": "moesif", "kind": "user", "event_id": f"u{order}", "received_us": NOON + order}
    return given | {"payload": {}, "user_id": user_id, "leaves": profile_leaves(document)} | fields


class StoreContract:
    """What every store promises."""

    @pytest.fixture
    def store(self) -> Store:
        pytest.fail("an implementation gives its own")

    def rows(self, store: Store, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        return store.query(sql, parameters).rows

    def test_migrating_again_changes_nothing(self, store: Store) -> None:
        assert store.migrate() == []

    def test_an_event_is_found_with_its_fields(self, store: Store) -> None:
        payload = {"text": 'line\nbreak "quoted" / ünïcode \u2028', "nested": {"list": [1, None, {"a": 1.5}]}}
        store.insert(
            lines(event("1", payload=payload, properties={"n": 1, "s": "x", "f": 1.5, "b": True, "o": {"k": "v"}}))
        )
        [row] = self.rows(store, "SELECT * FROM events")
        assert json.loads(row["payload"]) == payload
        assert row["properties"] == {"n": 1, "s": "x", "f": 1.5, "b": True, "o": {"k": "v"}}
        assert (row["time"], row["received_at"]) == ("2025-11-22 11:59:58.123456", "2025-11-22 12:00:00.000000")
        assert (row["name"], row["weight"], row["late"], row["status"], row["user_id"]) == ("N", 1, False, None, "")

    def test_a_second_delivery_does_not_show(self, store: Store) -> None:
        for _ in range(3):
            store.insert(lines(event("1", user_id="u"), event("2"), update("u", {"metadata": {"k": 1}}, 1)))
        assert self.rows(store, "SELECT count() AS n, uniqExact(event_id) AS ids FROM events") == [{"n": 2, "ids": 2}]
        assert self.rows(store, "SELECT count() AS n FROM users") == [{"n": 1}]

    def test_the_first_of_two_copies_stays(self, store: Store) -> None:
        store.insert(lines(event("1", name="second", received_us=NOON + 5)))
        store.insert(lines(event("1", name="first", received_us=NOON + 1)))
        assert [row["name"] for row in self.rows(store, "SELECT name FROM events")] == ["first"]

    def test_copies_of_an_undated_event_collapse_across_midnight(self, store: Store) -> None:
        store.insert(lines(event("1", undated=True, time="2025-11-22T23:59:59.999999")))
        store.insert(lines(event("1", undated=True, time="2025-11-23T00:00:00.000001", received_us=NOON + 9)))
        assert len(self.rows(store, "SELECT event_id FROM events")) == 1

    @pytest.mark.parametrize("difference", [{"app": "b"}, {"source": "moloco"}, {"platform": "P2"}])
    def test_one_id_in_another_app_source_or_platform_is_another_event(
        self, store: Store, difference: dict[str, str]
    ) -> None:
        store.insert(lines(event("1"), event("1", **difference)))
        assert len(self.rows(store, "SELECT event_id FROM events")) == 2

    def test_lines_of_no_kind_leave_nothing(self, store: Store) -> None:
        store.insert(b'{"segment":{"version":1}}\n{"commit":{"bytes":1,"crc32":2}}\n{}\n')
        for view in ("events", "users", "rejections"):
            assert self.rows(store, f"SELECT * FROM {view}") == []

    def test_a_field_from_a_newer_version_is_skipped(self, store: Store) -> None:
        store.insert(lines(event("1", field_of_tomorrow={"x": 1})))
        assert len(self.rows(store, "SELECT event_id FROM events")) == 1

    @pytest.mark.parametrize(
        "properties",
        [
            '{"a":1e999}',
            '{"a":{"b":1},"a.b":2}',
            '{"a":1,"a":2}',
            '{"":1}',
            '{"a":"\\u0000"}',
            '{"a":' * 90 + "1" + "}" * 90,
        ],
        ids=["infinite", "path twice", "key twice", "empty key", "NUL", "deep"],
    )
    def test_odd_but_valid_json_is_kept_in_the_payload(self, store: Store, properties: str) -> None:
        line = lines(event("1", properties="@", payload="@")).replace(b'"@"', properties.encode())
        store.insert(line)
        [row] = self.rows(store, "SELECT payload FROM events")
        assert row["payload"] == properties

    def test_text_that_looks_like_a_date_stays_text(self, store: Store) -> None:
        store.insert(lines(event("1", properties={"d": "2021-08-12T22:30:05", "e": "2021-08-12"})))
        [row] = self.rows(store, "SELECT properties FROM events")
        assert row["properties"] == {"d": "2021-08-12T22:30:05", "e": "2021-08-12"}

    def test_a_line_that_cannot_be_read_is_refused(self, store: Store) -> None:
        with pytest.raises(StoreError):
            store.insert(lines(event("1", time="yesterday")))
        store.insert(lines(event("2")))
        assert [row["event_id"] for row in self.rows(store, "SELECT event_id FROM events")] == ["2"]

    def test_a_profile_is_the_recursive_merge_of_its_updates(self, store: Store) -> None:
        updates: list[dict[str, Any]] = [
            {"company_id": "c", "metadata": {"plan": "free", "address": {"city": "Paris", "zip": "1"}, "tags": [1, 2]}},
            {"metadata": {"plan": None, "address": {"zip": "2"}, "tags": [3]}},
            {"metadata": {"address": "unknown", "score": {"value": 1}}},
            {"metadata": {"score": 5, "address": {"street": "s"}}},
        ]
        store.insert(lines(*[update("u", document, order) for order, document in enumerate(updates)]))
        [row] = self.rows(store, "SELECT profile FROM users")
        assert row["profile"] == {
            "company_id": "c",
            "metadata": {"plan": "free", "address": {"street": "s"}, "tags": [3], "score": 5},
        }

    def test_a_profile_does_not_depend_on_the_order_of_loading(self, store: Store) -> None:
        store.insert(lines(update("u", {"metadata": {"a": {"b": 1}}}, 2)))
        store.insert(lines(update("u", {"metadata": {"a": 5, "c": 1}}, 1)))
        [row] = self.rows(store, "SELECT profile FROM users")
        assert row["profile"] == {"metadata": {"a": {"b": 1}, "c": 1}}

    def test_session_tokens_are_only_added(self, store: Store) -> None:
        store.insert(lines(update("u", {}, 1, session_token="t1"), update("u", {}, 2, session_token="t2")))
        store.insert(lines(update("u", {}, 3)))
        [row] = self.rows(store, "SELECT arraySort(session_tokens) AS tokens FROM users")
        assert row["tokens"] == ["t1", "t2"]

    def test_a_user_is_seen_by_events_and_updates(self, store: Store) -> None:
        store.insert(lines(event("1", user_id="u", time="2025-11-01T00:00:00"), update("u", {}, 1)))
        [row] = self.rows(store, "SELECT first_seen, last_seen, updated_at FROM users WHERE user_id = 'u'")
        assert row["first_seen"] == "2025-11-01 00:00:00.000000"
        assert row["last_seen"] == row["updated_at"] == "2025-11-22 12:00:00.000001"

    def test_a_query_takes_parameters(self, store: Store) -> None:
        sql = "SELECT {text:String} AS text, {number:UInt64} + 1 AS number, {list:Array(String)} AS list"
        parameters = {"text": "a'b\\c\n{x}", "number": 41, "list": ["p", "q'"]}
        assert self.rows(store, sql, **parameters) == [{"text": "a'b\\c\n{x}", "number": 42, "list": ["p", "q'"]}]

    def test_columns_are_told_also_without_rows(self, store: Store) -> None:
        answer = store.query("SELECT app, weight FROM events")
        assert answer.columns == [Column("app", "LowCardinality(String)"), Column("weight", "UInt32")]
        assert answer.rows == []

    @pytest.mark.parametrize(
        ("sql", "reason"),
        [
            ("INSERT INTO events VALUES (1)", "INSERT"),
            ("insert into function file('/tmp/x.csv') select 1", "INSERT"),
            ("DROP TABLE event_rows", "DROP"),
            ("TRUNCATE TABLE event_rows", "TRUNCATE"),
            ("ALTER TABLE event_rows DELETE WHERE 1", "ALTER"),
            ("OPTIMIZE TABLE event_rows", "OPTIMIZE"),
            ("CREATE TABLE x (a Int8) ENGINE = Memory", "CREATE"),
            ("SYSTEM SHUTDOWN", "SYSTEM"),
            ("KILL QUERY WHERE 1", "KILL"),
            ("SET readonly = 0", "SET"),
            ("USE system", "USE"),
            ("SELECT 1; DROP TABLE event_rows", "Multi-statements"),
            ("SELECT 1 SETTINGS readonly = 0", "readonly|SETTINGS"),
            ("SELECT * FROM events SETTINGS max_execution_time = 0", "readonly|SETTINGS"),
            ("SELECT 1 INTO OUTFILE '/tmp/catchment-out'", "INTO OUTFILE"),
            ("SELECT 1 FORMAT Null", "FORMAT"),
            ("SELECT file('/etc/passwd')", r"file\(\)"),
            ("SELECT `FILE`('/etc/passwd') AS `x (children 1)`", r"FILE\(\)"),
            ("SELECT arrayMap(x -> file(x), ['/etc/passwd'])", r"file\(\)"),
            ("SELECT * FROM file('/etc/passwd', 'LineAsString')", r"file\(\)"),
            ("SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')", r"url\(\)"),
            ("SELECT * FROM remote('127.0.0.1', system.one)", r"remote\(\)"),
            ("SELECT * FROM s3('http://127.0.0.1/a/b')", r"s3\(\)"),
            ("SELECT * FROM executable('ls', 'TSV', 'a String')", r"executable\(\)"),
            ("SELECT * FROM Python(x)", r"Python\(\)"),
            ("SELECT * FROM (SELECT * FROM file('/etc/passwd'))", r"file\(\)"),
            ("SELECT 1 WHERE 1 IN (SELECT * FROM url('http://127.0.0.1:1/'))", r"url\(\)"),
            ("WITH x AS (SELECT * FROM url('http://127.0.0.1:1/')) SELECT * FROM x", r"url\(\)"),
            ("EXPLAIN SELECT * FROM url('http://127.0.0.1:1/')", r"url\(\)"),
            ("DESCRIBE TABLE url('http://127.0.0.1:1/')", "DESCRIBE"),
            ("SELECT * FROM merge('system', 'processes')", r"merge\(\)"),
            ("SELECT * FROM system.processes", "system.processes"),
            ("SELECT * FROM `system`.`processes`", "processes"),
            ("SELECT * APPLY(file) FROM (SELECT '/etc/passwd')", r"file\(\)"),
            ("SELECT COLUMNS('.*') APPLY(x -> file(x)) FROM (SELECT '/etc/passwd')", r"file\(\)"),
            ("SELECT arrayMap(file, ['/etc/passwd'])", r"file\(\)"),
            ("SELECT * REPLACE(file('x') AS a) FROM (SELECT 1 AS a)", r"file\(\)"),
            ("SELECT file('x') AS `a\nb`", r"file\(\)"),
            ("DESCRIBE event_rows INTO OUTFILE '/tmp/catchment-out' TRUNCATE", "DESCRIBE"),
            ("SHOW DATABASES INTO OUTFILE '/tmp/catchment-out'", "SHOW"),
            ("EXPLAIN SELECT 1 INTO OUTFILE '/tmp/catchment-out'", "INTO OUTFILE"),
            ("EXPLAIN AST SELECT 1", "EXPLAIN"),
            ("SHOW TABLES WHERE throwIf(1, file('/etc/passwd'))", "SHOW"),
            ("SHOW TABLES FROM system", "SHOW"),
            ("SELECT ('a', 'b') IN system.build_options", "system.build_options"),
            ("SELECT path FROM system.parts", "system.parts"),
            ("SELECT getOSKernelVersion()", "getOSKernelVersion"),
            ("SELECT hasColumnInTable('127.0.0.1', 'a', 'b', 'c')", "hasColumnInTable"),
            ("SELECT editDistance(repeat('a', 20000), repeat('b', 20000))", "editDistance"),
            ("SELECT sleep(3)", "sleep"),
            ("SELECT dictGet('d', 'a', 1)", "dictGet"),
            ("", "empty"),
            ("SELEC 1", "Syntax error"),
            ("SELECT nosuch FROM events", "nosuch"),
        ],
    )
    def test_what_is_not_a_bounded_reading_query_is_refused(self, store: Store, sql: str, reason: str) -> None:
        store.insert(lines(event("1")))
        with pytest.raises(QueryError, match=reason):
            store.query(sql)
        assert self.rows(store, "SELECT count() AS n FROM events") == [{"n": 1}]

    def test_parameters_are_values_and_nothing_else(self, store: Store) -> None:
        injection = {"x": "; SELECT file($$/etc/passwd$$) AS q -- "}
        assert self.rows(store, "SELECT '%(x)s' AS y, {x:String} AS x", **injection) == [{"y": "%(x)s"} | injection]
        assert self.rows(store, "SELECT 5 % {x:UInt8} AS n, '%a' LIKE '%a' AS same", x=3) == [{"n": 2, "same": 1}]
        for without in (
            "SELECT '%(x)s' AS y",
            "SELECT {y:String}",
            "EXPLAIN SELECT 1",
            "SHOW TABLES",
            "DESCRIBE events",
        ):
            with pytest.raises(QueryError, match="the query has no place for the parameter 'x'; "):
                store.query(without, injection | ({"y": "1"} if "{y" in without else {}))
        with pytest.raises(
            QueryError, match=r"the query has \{x:String\}, \{y:UInt8\}, and no value was given for y: give"
        ):
            store.query("SELECT {y:UInt8}, {x:String}", injection)
        with pytest.raises(QueryError, match="stand for values"):
            store.query("SELECT * FROM {t:Identifier}", {"t": "system.processes"})

    def test_events_of_all_years_do_not_make_a_partition_each(self, store: Store) -> None:
        years = [event(str(year), time=f"{year}-06-01T00:00:00") for year in range(1970, 2200)]
        store.insert(lines(*years))
        [row] = self.rows(store, "SELECT count() AS n, uniqExact(_partition_id) AS partitions FROM event_rows")
        assert row["n"] == len(years)
        assert row["partitions"] <= 21

    @pytest.mark.parametrize(
        "sql",
        [
            "SHOW TABLES",
            "DESCRIBE TABLE events",
            "EXPLAIN SELECT * FROM events",
            "SELECT name FROM system.columns WHERE database = 'catchment' AND table = 'events'",
            "SELECT * EXCEPT (payload) FROM catchment.events",
            "(SELECT 1) INTERSECT (SELECT 1)",
            "SELECT sum(weight) OVER (PARTITION BY app ORDER BY time) FROM events",
            "SELECT item.id, sum(item.price) FROM events ARRAY JOIN items AS item GROUP BY item.id",
            "SELECT properties.plan::String AS plan, count() FROM events GROUP BY plan ORDER BY 2 DESC LIMIT 3 BY plan",
            "SELECT toDate(time) AS t, count() FROM events GROUP BY t ORDER BY t WITH FILL",
            "SELECT user_id IN (SELECT user_id FROM users), quantiles(0.5, 0.9)(duration_ms) FROM events GROUP BY 1",
            "SELECT profile.^metadata FROM users",
            "WITH n AS (SELECT 1 AS a) SELECT * FROM n UNION ALL SELECT number FROM numbers(3)",
            "SELECT e.name, u.profile FROM events e LEFT JOIN users u USING (app, user_id)",
            "SELECT 1 -- a comment; with a semicolon",
            "SELECT 1;",
        ],
    )
    def test_reading_queries_of_every_form_are_answered(self, store: Store, sql: str) -> None:
        assert store.query(sql).columns

    def test_the_bounds_of_a_query_hold(self, store: Store) -> None:
        with pytest.raises(QueryError, match="max rows"):
            store.query("SELECT number FROM numbers(1000000)")
        with pytest.raises(QueryError, match=r"(?i)memory"):
            store.query("SELECT groupArray(number) FROM numbers(20000000)")

    def test_a_failed_query_leaves_nothing_for_the_next_one(self, store: Store) -> None:
        for _ in range(12):
            with pytest.raises(QueryError):
                store.query("SELECT number FROM numbers(1000000)")
            assert self.rows(store, "SELECT 7 AS n") == [{"n": 7}]
