"""SQL as somebody sends it who has the token and wants more: files, the network, the machine, writes, a standstill.

Each attempt goes over the wire to a running server, which must refuse it in a sentence, and be as it was before.
tests/store/contract.py has the attempts that any store must withstand.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from catchment.store import functions
from tests.conftest import AppOf, Server

REACHES_FILES = [
    "SELECT file('{file}')",
    "SELECT file('{file}', '')",
    "SELECT fIlE('{file}')",
    "SELECT arrayMap(x -> file(x), ['{file}'])",
    "SELECT arrayMap(file, ['{file}'])",
    "SELECT arrayFold((a, x) -> concat(a, file(x)), ['{file}'], '')",
    "SELECT mapApply((k, v) -> (k, file(v)), map('a', '{file}'))",
    "SELECT * APPLY(file) FROM (SELECT '{file}')",
    "SELECT COLUMNS('x') APPLY(y -> file(y)) FROM (SELECT '{file}' AS x)",
    "SELECT if(1, file('{file}'), '')",
    "SELECT (SELECT file('{file}'))",
    "SELECT 1 WHERE file('{file}') LIKE '%'",
    "SELECT 1 ORDER BY file('{file}')",
    "SELECT 1 GROUP BY file('{file}')",
    "SELECT 1 HAVING file('{file}') != ''",
    "SELECT 1 LIMIT length(file('{file}'))",
    "SELECT number FROM numbers(length(file('{file}')))",
    "SELECT sum(length(file('{file}'))) OVER ()",
    "WITH file('{file}') AS x SELECT x",
    "WITH (SELECT file('{file}')) AS x SELECT x",
    "SELECT 1 AS a QUALIFY file('{file}') != ''",
    "SELECT * FROM events AS e JOIN (SELECT file('{file}') AS k) AS j ON e.name = j.k",
    "SELECT 1 UNION ALL SELECT length(file('{file}'))",
    "SELECT * FROM file('{file}')",
    "SELECT * FROM file('{file}', 'RawBLOB', 'x String')",
    "SELECT * FROM FILE('{file}', 'LineAsString')",
    "SELECT * FROM fileCluster('default', '{file}')",
    "SELECT * FROM filesystem('/')",
    "SELECT * FROM sqlite('{file}', 't')",
    "SELECT * FROM deltaLakeLocal('{file}')",
    "SELECT * FROM icebergLocal('{file}')",
    "SELECT * FROM paimonLocal('{file}')",
    "SELECT * FROM `{file}`",
    "SELECT * FROM '{file}'",
    "SELECT * FROM numbers(1) WHERE 1 IN file('{file}')",
    "SELECT * FROM view(SELECT * FROM file('{file}'))",
    "SELECT * FROM loop(file('{file}'))",
    "SELECT * FROM eval('SELECT 1')",
    "SELECT * FROM viewExplain('EXPLAIN', '', (SELECT file('{file}')))",
    "SELECT * FROM executable('cat {file}', 'LineAsString', 'x String')",
    "SELECT * FROM python('{file}')",
    "SELECT * FROM dictionary('{file}')",
    "SELECT dictGet('{file}', 'a', 1)",
    "SELECT catboostEvaluate('{file}', 1)",
    "SELECT naiveBayesClassifier('{file}', 'x')",
    "SELECT showCertificate()",
    "SELECT 1 INTO OUTFILE '{file}' TRUNCATE FORMAT TSV",
    "SELECT 1 INTO OUTFILE '{file}' APPEND",
    "INSERT INTO FUNCTION file('{file}') SELECT 1",
    "INSERT INTO event_rows FROM INFILE '{file}' FORMAT JSONEachRow",
    "BACKUP DATABASE catchment TO File('{file}')",
    "RESTORE DATABASE catchment FROM File('{file}')",
    "CREATE TABLE t (x String) ENGINE = File(LineAsString, '{file}')",
    "CREATE DICTIONARY d (k UInt64) PRIMARY KEY k SOURCE(FILE(PATH '{file}' FORMAT 'TSV')) LAYOUT(FLAT()) LIFETIME(0)",
    "ATTACH TABLE t FROM '{file}' (x String) ENGINE = MergeTree ORDER BY x",
    "EXPLAIN SELECT file('{file}')",
    "EXPLAIN PIPELINE SELECT file('{file}')",
    "EXPLAIN QUERY TREE SELECT file('{file}')",
    "DESCRIBE TABLE file('{file}')",
    "SELECT 1 /* */ ; SELECT file('{file}')",
]
REACHES_THE_NETWORK = [
    "SELECT * FROM url('http://{peer}/')",
    "SELECT * FROM urlCluster('default', 'http://{peer}/')",
    "SELECT * FROM remote('{peer}', system.one)",
    "SELECT * FROM remoteSecure('{peer}', system.one)",
    "SELECT * FROM cluster('default', system.one)",
    "SELECT * FROM s3('http://{peer}/a/b')",
    "SELECT * FROM gcs('http://{peer}/a/b')",
    "SELECT * FROM azureBlobStorage('http://{peer}/', 'c', 'b')",
    "SELECT * FROM hdfs('hdfs://{peer}/a')",
    "SELECT * FROM mysql('{peer}', 'd', 't', 'u', 'p')",
    "SELECT * FROM postgresql('{peer}', 'd', 't', 'u', 'p')",
    "SELECT * FROM mongodb('{peer}', 'd', 'c', 'u', 'p', 'x String')",
    "SELECT * FROM redis('{peer}', 'k', 'k String')",
    "SELECT * FROM jdbc('jdbc://{peer}', 't')",
    "SELECT * FROM odbc('DSN=x', 't')",
    "SELECT * FROM prometheusQuery('t', 'up', now())",
    "SELECT * FROM bigquery('a', 'b', 'c')",
    "SELECT * FROM ytsaurus('http://{peer}', '//t', 't')",
    "SELECT aiGenerate('c', 'x')",
    "SELECT hasColumnInTable('{peer}', 'd', 't', 'c')",
    "SELECT reverseDNSQuery('{peer}')",
    "CREATE TABLE t ENGINE = URL('http://{peer}/')",
]
TELLS_OF_THE_MACHINE = [
    *("SELECT hostname()", "SELECT fullHostName()", "SELECT FQDN()", "SELECT getOSKernelVersion()"),
    *("SELECT uptime()", "SELECT tcpPort()", "SELECT serverUUID()", "SELECT buildId()", "SELECT displayName()"),
    *("SELECT tid()", "SELECT connection_id()", "SELECT current_query_id()", "SELECT currentRequestURL()"),
    *("SELECT filesystemCapacity()", "SELECT addressToSymbol(1)", "SELECT demangle('x')"),
    *("SELECT getSetting('max_threads')", "SELECT getServerSetting('path')", "SELECT getMacro('x')"),
    *("SELECT getClientHTTPHeader('authorization')", "SELECT globalVariable('version')"),
    *("SELECT * FROM system.settings", "SELECT * FROM system.server_settings", "SELECT * FROM system.processes"),
    *("SELECT * FROM system.query_log", "SELECT * FROM system.tables", "SELECT * FROM system.parts"),
    *("SELECT * FROM system.disks", "SELECT * FROM system.users", "SELECT * FROM system.grants"),
    *("SELECT * FROM system.build_options", "SELECT * FROM system.metrics", "SELECT * FROM system.errors"),
    *("SELECT * FROM system.stack_trace", "SELECT * FROM system.certificates", "SELECT * FROM `system`.`clusters`"),
    *("SELECT * FROM SYSTEM.SETTINGS", "SELECT * FROM merge('system', '.*')", "SELECT 1 IN system.settings"),
    *("SELECT * FROM mergeTreeIndex('catchment', 'event_rows')", "SHOW SETTINGS LIKE '%'", "SHOW PROCESSLIST"),
    *("SHOW CREATE TABLE event_rows", "SHOW GRANTS", "SHOW USERS", "SHOW ACCESS", "SHOW ENGINES"),
]
WRITES = [
    *("UPDATE event_rows SET app = 'x' WHERE 1", "DELETE FROM event_rows WHERE 1", "DETACH TABLE event_rows"),
    *("RENAME TABLE event_rows TO x", "EXCHANGE TABLES event_rows AND rejection_rows", "UNDROP TABLE x"),
    *("CREATE FUNCTION f AS x -> x", "CREATE USER u", "GRANT ALL ON *.* TO default", "SET ROLE ALL"),
    *(
        "CREATE VIEW v DEFINER = default SQL SECURITY DEFINER AS SELECT 1",
        "CREATE DATABASE d",
        "CHECK TABLE event_rows",
    ),
    *("SYSTEM DROP CACHE", "SYSTEM STOP MERGES", "SYSTEM FLUSH LOGS", "SYSTEM RELOAD CONFIG", "BEGIN TRANSACTION"),
    *(
        "SET max_memory_usage = 0",
        "SELECT 1 SETTINGS max_execution_time = 0",
        "SELECT * FROM events SETTINGS readonly = 0",
    ),
    *("SELECT 1 UNION ALL SELECT 2 SETTINGS allow_ddl = 1", "SELECT (SELECT 1 SETTINGS max_rows_to_read = 0)"),
    *("WITH x AS (SELECT 1 SETTINGS max_threads = 64) SELECT * FROM x", "SELECT logTrace('a line of the log')"),
    *("SELECT 1 FORMAT Native", "SELECT 1 PARALLEL WITH SELECT 2", "EXECUTE AS default SELECT 1"),
    *("SELECT generateSerialID('x')", "SELECT * FROM {t:Identifier}", "SELECT 1; SELECT 2", "USE default"),
]
TAKES_ALL = [
    ("SELECT sleep(3)", "not allowed"),
    ("SELECT sleepEachRow(3) FROM numbers(100)", "not allowed"),
    ("SELECT levenshteinDistance(repeat('a', 100000), repeat('b', 100000))", "not allowed"),
    ("SELECT arrayLevenshteinDistance(range(100000), range(100000))", "not allowed"),
    ("SELECT h3kRing(stringToH3('85283473fffffff'), toUInt16(9000))", "not allowed"),
    ("SELECT length(range(1000000000))", "(?i)elements|memory"),
    ("SELECT length(repeat('a', 10000000000))", "(?i)repeat|memory"),
    ("SELECT length(arrayWithConstant(4000000000, 1))", "(?i)elements|memory|too large"),
    ("SELECT length(randomPrintableASCII(100000000000))", "(?i)memory|too large"),
    ("SELECT length(arrayFold((a, x) -> arrayConcat(a, a), range(64), [1]))", "(?i)memory"),
    ("SELECT format(repeat('{0}', 100000), repeat('a', 1000000))", "(?i)memory"),
    ("SELECT number FROM numbers(1000000000000)", "(?i)max rows|time"),
    ("WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT n FROM t", "(?i)recursive|time"),
    ("SELECT " + "(" * 2000 + "1" + ")" * 2000, "(?i)depth|deep|syntax"),
    ("SELECT " + "+".join(["1"] * 20_000), "(?i)depth|deep|elements|big"),
]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file that the server may read."""
    file = tmp_path / "secret.txt"
    file.write_text("a secret of the machine\n")
    return file


def refused(server: Server, query: str) -> str:
    given = {"t": "events"} if "{t:" in query else {}  # one without a place would be the reason by itself
    answer = server.api.post("/api/sql", json={"query": query, "parameters": given})
    assert answer.status_code == 400, answer.text[:1000]
    reason = str(answer.json()["error"])
    assert reason
    assert "\n" not in reason
    return reason


def test_there_are_more_than_a_hundred_attempts() -> None:
    attempts = [*REACHES_FILES, *REACHES_THE_NETWORK, *TELLS_OF_THE_MACHINE, *WRITES, *(sql for sql, _ in TAKES_ALL)]
    assert len(set(attempts)) == len(attempts) > 100


@pytest.mark.parametrize("query", REACHES_FILES)
def test_no_query_reaches_a_file(server: Server, secret: Path, query: str) -> None:
    before = secret.stat()
    assert "a secret of the machine" not in refused(server, query.replace("{file}", str(secret)))
    assert secret.stat() == before
    assert [path.name for path in secret.parent.iterdir()] == [secret.name]


@pytest.mark.parametrize("name", ["catchment.toml", "catchment.toml.sound", "run.json", "/proc/self/environ", "log"])
@pytest.mark.parametrize("query", ["SELECT file('{file}')", "SELECT * FROM file('{file}', 'RawBLOB')"])
def test_nor_a_file_of_the_server_itself(server: Server, name: str, query: str) -> None:
    for path in (name, str(server.data_dir / name), f"../{name}"):
        assert "not allowed here" in refused(server, query.replace("{file}", path))


@pytest.mark.parametrize("query", REACHES_THE_NETWORK)
def test_no_query_reaches_the_network(server: Server, query: str) -> None:
    refused(server, query.replace("{peer}", server.ingest.removeprefix("http://")))


@pytest.mark.parametrize("query", TELLS_OF_THE_MACHINE)
def test_no_query_tells_of_the_machine_or_the_engine(server: Server, query: str) -> None:
    assert str(server.data_dir) not in refused(server, query)


@pytest.mark.parametrize("query", WRITES)
def test_no_query_writes_or_lifts_its_bounds(server: Server, query: str) -> None:
    refused(server, query)


@pytest.mark.parametrize(("query", "reason"), TAKES_ALL)
def test_no_query_takes_all_there_is(server: Server, query: str, reason: str) -> None:
    told = refused(server, query)
    assert re.search(reason, told), told
    assert server.sql("SELECT 7 AS n") == [{"n": 7}]


def test_every_function_of_the_engine_was_judged(server: Server) -> None:
    known = {row["name"].lower() for row in server.sql("SELECT DISTINCT name FROM system.functions")}
    judged = functions.names("allowed") | functions.names("aggregates") | functions.names("refused")
    assert len(known) > 1000
    assert known - judged == set()  # a new engine's: look at each, then put it into a list
    assert judged - known == {"exists", "grouping", "lambda", "untuple"}  # the parser's own


@pytest.mark.parametrize("name", ["sumIf", "uniqExactIfOrNull", "argMaxStateMerge", "quantileTDigestArray", "COUNT"])
def test_an_aggregate_may_have_combinators(name: str) -> None:
    assert functions.allows(name)


@pytest.mark.parametrize("name", ["if", "fileIf", "fooIf", "mapIf", "array", "aggThrowIf", ""])
def test_what_only_looks_like_one_may_not(name: str) -> None:
    assert functions.allows(name) is (name in ("if", "array"))


def test_no_secret_of_any_application_is_in_the_store(app: AppOf) -> None:
    secrets = {value for app in app.server.keys.values() for value in (
        app["moesif"]["application_id"], app["batch"]["rest_api_key"], app["batch"]["live"], app["moloco"]["api_key"],
    )}  # fmt: skip
    headers = app.moesif_headers | {"authorization": "Bearer a-session-of-somebody"}
    call: dict[str, Any] = {
        "request": {"time": "2026-01-01T00:00:00", "verb": "GET", "uri": "https://x/y", "headers": headers}
    }
    assert (
        app.moesif("/v1/events", call | {"response": {"time": "2026-01-01T00:00:00", "status": 200}}).status_code == 201
    )
    assert app.post(app.batch_path + "/u", {"events": 5}, app.batch_headers).status_code == 400
    assert app.post(app.batch_path + "/u", b"{", app.batch_headers).status_code == 400
    assert app.post(app.moloco_path, {"api_key": 1}, app.moloco_headers).status_code == 400
    app.events(1)
    app.rejections(3)
    tables = [row["name"] for row in app.server.sql("SHOW TABLES")]
    assert {"event_rows", "rejection_rows", "aliases", "profile_leaves"} <= set(tables)
    for table in tables:
        if table != "log":
            columns = [row["name"] for row in app.server.sql(f"DESCRIBE TABLE {table}")]
            own = {"app": app.name} if "app" in columns else {}
            where = " WHERE app = {app:String}" if own else ""
            found = json.dumps(app.server.sql(f"SELECT * FROM {table}{where} LIMIT 10000", **own))
            assert not [secret for secret in secrets if secret in found], table
            assert "a-session-of-somebody" not in found
