"""The commands as a person or a script calls them: what they print, where, and with which exit code."""

import csv
import fcntl
import io
import itertools
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App

from catchment import __version__
from catchment.cli import asking, commands, report
from catchment.cli.commands import run
from catchment.store.store import Column, Rows
from tests.conftest import AppOf, Server, catchment, status, until, write_apps
from tests.processes import alive

WITHIN_S = 90.0
# The command line, with a longer wait for another command that has the store open.
PATIENT = f"""
import sys
from catchment.cli import asking
from catchment.cli.commands import run
asking.WAIT_S = {WITHIN_S}
sys.exit(run(sys.argv[1:]))
"""
ODD_TEXT = "[bold]b[/bold] :smile: 'single' \"double\" é日本 \\ \t tab\nline"
ODD_QUERY = """
    SELECT NULL AS nothing,
        '' AS empty,
        {text} AS text,
        CAST('{{"a": {{"b": [1, null, {{"c": "é"}}]}}}}', 'JSON') AS nested,
        [NULL, 1] AS list,
        map('k', 'v') AS map,
        true AS flag,
        1.5 AS number,
        18446744073709551615 AS big,
        1 / 0 AS infinite
""".format(text="'" + ODD_TEXT.replace("\\", "\\\\").replace("'", "\\'") + "'")
THE_VIEWS = "the views are events, users, visitors, companies, subscriptions, rejections and ledger"
ODD_ROW = {
    "nothing": None,
    "empty": "",
    "text": ODD_TEXT,
    "nested": {"a": {"b": [1, None, {"c": "é"}]}},
    "list": [None, 1],
    "map": {"k": "v"},
    "flag": True,
    "number": 1.5,
    "big": 18446744073709551615,
    "infinite": None,
}


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data dir with two applications that nothing was ever served from."""
    data_dir = tmp_path_factory.mktemp("configured")
    write_apps(data_dir, ["default", "shop"])
    return data_dir


def every_command(app: App, *names: str) -> list[tuple[str, ...]]:
    inner = [every_command(app[name], *names, name) for name in app if not name.startswith("-")]
    return [names, *itertools.chain.from_iterable(inner)]


def in_terminal(columns: int, *arguments: str, data_dir: Path) -> str:
    """Runs the command line in a terminal of that many columns; what it shows, without styles."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    command = [sys.executable, "-m", "catchment", *arguments, "--data-dir", str(data_dir)]
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"TERM": "xterm"}
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL, env=environment) as process:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 65536):
                shown += part
        except OSError:
            pass  # a terminal whose other side was closed
        os.close(ours)
    assert process.returncode == 0, shown
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).replace("\r\n", "\n")


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, data_dir: Path) -> str:
    """What a command prints that succeeds; in this process, which saves the start of one."""
    assert run([*arguments, "--data-dir", str(data_dir)]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    return told.out


class TestHelp:
    @pytest.mark.parametrize("names", every_command(commands.app), ids=" ".join)
    def test_every_command_explains_itself(self, capsys: pytest.CaptureFixture[str], names: tuple[str, ...]) -> None:
        assert run([*names, "--help"]) == 0
        told = capsys.readouterr()
        assert " ".join(["Usage: catchment", *names]) in told.out
        assert told.err == ""

    @pytest.mark.parametrize("names", every_command(commands.app), ids=" ".join)
    def test_every_option_is_explained(self, names: tuple[str, ...]) -> None:
        command = commands.app
        for name in names:
            command = command[name]
        assert command.help
        for argument in command.assemble_argument_collection(parse_docstring=True) if command.default_command else []:
            assert argument.parameter.help, argument.names

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (
                ["tail", "--sauce", "batch"],
                "Unknown option: --sauce. Did you mean --source?\nSee `catchment tail --help`.\n",
            ),
            (["sql"], "See `catchment sql --help`.\n"),
            (["sql", "SELECT", "1"], "See `catchment sql --help`.\n"),
            (["serve", "--port", "http"], "See `catchment serve --help`.\n"),
            (["keys", "--format", "xml"], 'Choose from: "table", "json".\nSee `catchment keys --help`.\n'),
            (
                ["tail", "--source", "segment"],
                'Choose from: "moesif", "batch", "moloco".\nSee `catchment tail --help`.\n',
            ),
            (["maintenance", "maybe"], 'Choose from: "on", "off".\nSee `catchment maintenance --help`.\n'),
            (["config", "chek"], 'Did you mean "check"? Available commands: check.\nSee `catchment config --help`.\n'),
            (["start"], ".\nSee `catchment --help`.\n"),
        ],
    )
    def test_wrong_arguments_are_answered_with_a_hint(
        self, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
    ) -> None:
        with pytest.raises(SystemExit) as caught:
            run(arguments)
        assert caught.value.code == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.endswith(sentence)

    def test_the_program_tells_its_version(self) -> None:
        told = subprocess.run([sys.executable, "-m", "catchment", "--version"], capture_output=True, text=True)
        assert (told.returncode, told.stdout, told.stderr) == (0, __version__ + "\n", "")


class TestKeys:
    def test_json_is_a_list_of_the_applications_with_one_key_of_each_kind(self, configured: Path) -> None:
        found = json.loads(catchment("keys", "--format", "json", data_dir=configured))
        assert [app["app"] for app in found] == ["default", "shop"]
        for app in found:
            assert list(app) == ["app", "moesif", "batch", "moloco"]
            assert list(app["moesif"]) == ["application_id"]
            assert list(app["batch"]) == ["rest_api_key", "live", "dev", "sdk"]
            assert list(app["moloco"]) == ["platform", "api_key"]
            assert all(app[vendor][key] for vendor in list(app)[1:] for key in app[vendor])

    def test_a_vendor_without_keys_is_null(
        self, configured: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CATCHMENT_APPS", '{"bare": {"moloco": {"platforms": {"P": []}}}}')
        assert run(["keys", "--format", "json", "--data-dir", str(configured)]) == 0
        [*_, bare] = json.loads(capsys.readouterr().out)
        assert (bare["moesif"], bare["batch"], bare["moloco"]) == (None, None, {"platform": "P", "api_key": None})
        assert run(["keys", "--data-dir", str(configured)]) == 0
        assert "None" not in capsys.readouterr().out

    def test_the_table_has_all_of_it_too(self, configured: Path, capsys: pytest.CaptureFixture[str]) -> None:
        run(["keys", "--format", "json", "--data-dir", str(configured)])
        apps = json.loads(capsys.readouterr().out)
        assert run(["keys", "--data-dir", str(configured)]) == 0
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        for app in apps:
            assert [app["app"]] in lines
            for vendor in ("moesif", "batch", "moloco"):
                for name, value in app[vendor].items():
                    assert [vendor, name, value] in lines
        assert "`catchment token` makes another one" in " ".join(lines[-2])


class TestConfigCheck:
    def test_a_sound_file_is_said_to_be_sound(self, configured: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["config", "check", "--data-dir", str(configured)]) == 0
        sound, edge, core = capsys.readouterr().out.splitlines()
        assert sound == f"{configured / 'catchment.toml'} is sound: default, shop"
        assert re.fullmatch(r"(The edge process|Each of the \d+ edge processes) takes at most [0-9.]+ [MG]B\.", edge)
        assert re.fullmatch(
            r"The engine in the core takes at most [0-9.]+ [MGT]B on this machine, nine tenths of its memory;"
            r" of that, each of 4 queries at a time at most 2\.1 GB \(sql\.memory_bytes_max\)\.",
            core,
        )

    @pytest.mark.parametrize(("workers", "words"), [("1", "The edge process "), ("3", "Each of the 3 edge processes ")])
    def test_one_process_is_told_as_one(
        self,
        configured: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        workers: str,
        words: str,
    ) -> None:
        monkeypatch.setenv("CATCHMENT_INGEST__WORKERS", workers)
        assert run(["config", "check", "--data-dir", str(configured)]) == 0
        assert capsys.readouterr().out.splitlines()[1].startswith(words)

    def test_mistakes_go_to_standard_error_with_exit_code_2(self, configured: Path) -> None:
        environment = {"CATCHMENT_INGEST__PORT": "x", "CATCHMENT_SQL__ROWS_MAX": "0"}
        told = catchment("config", "check", data_dir=configured, code=2, environment=environment)
        assert told.splitlines() == [
            f"{configured / 'catchment.toml'}: 2 mistakes",
            "  - ingest.port: found 'x' from CATCHMENT_INGEST__PORT; it must be a whole number",
            "  - sql.rows_max: found '0' from CATCHMENT_SQL__ROWS_MAX; it must be 1 or more",
        ]


class TestSqlFormats:
    def test_json_is_an_array_of_rows(self, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
        assert json.loads(printed(capsys, "sql", ODD_QUERY, "--format", "json", data_dir=server.data_dir)) == [ODD_ROW]

    def test_ndjson_is_a_row_on_each_line(self, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
        query = f"SELECT odd.*, counted.number AS n FROM ({ODD_QUERY}) AS odd, numbers(3) AS counted ORDER BY n"
        lines = printed(capsys, "sql", query, "--format", "ndjson", data_dir=server.data_dir).splitlines()
        found = [json.loads(line) for line in lines]
        assert [row["n"] for row in found] == [0, 1, 2]
        assert all(ODD_ROW.items() <= row.items() for row in found)

    def test_csv_reads_back(self, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
        told = printed(capsys, "sql", ODD_QUERY, "--format", "csv", data_dir=server.data_dir)
        header, row = csv.reader(io.StringIO(told, newline=""))
        assert header == list(ODD_ROW)
        cells = dict(zip(header, row, strict=True))
        assert (cells["nothing"], cells["empty"], cells["text"]) == ("", "", ODD_TEXT)
        for name in ("nested", "list", "map", "flag", "number", "big"):
            assert json.loads(cells[name]) == ODD_ROW[name]

    def test_a_table_has_every_character_as_it_is(self, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
        told = printed(capsys, "sql", ODD_QUERY, data_dir=server.data_dir)
        first, second = ODD_TEXT.replace("\t", "\\t").split("\n")
        names, cells, below = [
            [cell.strip() for cell in line[1:-1].split(line[0])] for line in told.splitlines() if line[0] in "┃│"
        ]
        assert names == list(ODD_ROW)
        assert cells[:3] == ["", "", first]
        assert below[2] == second
        assert cells[6:] == ["true", "1.5", "18446744073709551615", ""]

    @pytest.mark.parametrize(
        ("style", "told"), [("json", "[]\n"), ("ndjson", ""), ("csv", "a,b\n"), ("table", "a ┃ b")]
    )
    def test_no_rows_are_no_rows(self, capsys: pytest.CaptureFixture[str], style: str, told: str) -> None:
        report.print_rows(Rows([Column("a", "String"), Column("b", "String")], []), style)
        out = capsys.readouterr().out
        assert told in out if style == "table" else told == out

    def test_a_strangers_control_characters_are_shown_and_not_obeyed(self, capsys: pytest.CaptureFixture[str]) -> None:
        evil = "\x1b]0;title\x07\x9b31m\rover\x7f"
        shown = "\\x1b]0;title\\x07\\x9b31m\\rover\\x7f"
        report.print_rows(Rows([Column(evil, "String")], [{evil: evil}]), "table")
        event = {"time": "2026-01-01 00:00:00.000000", "source": "moesif", "name": evil, "user_id": evil}
        rest = {"anonymous_id": "", "late": False, "status": 404, "properties": {evil: evil}}
        report.print_event(event | rest, "text")
        out = capsys.readouterr().out
        assert out.count(shown) == 4
        assert not set(evil[:1] + "\x07\x9b\r\x7f") & set(out)

    def test_a_wide_answer_in_a_terminal_is_a_list_of_columns(self, app: AppOf) -> None:
        app.moesif("/v1/actions", {"action_name": "wide", "user_id": "u", "request": {"uri": "https://x/y"}})
        app.events(1)
        query = f"SELECT * FROM events WHERE app = '{app.name}'"
        lines = [line.split() for line in in_terminal(100, "sql", query, data_dir=app.server.data_dir).splitlines()]
        assert ["row", "1"] in lines
        assert ["name", "wide"] in lines
        assert ["user_id", "u"] in lines
        assert lines[-1] == ["1", "row"]

    def test_a_long_word_in_a_terminal_is_folded_and_not_cut(self, server: Server) -> None:
        shown = in_terminal(60, "sql", "SELECT 1 AS a, repeat('x', 300) AS b", data_dir=server.data_dir)
        assert shown.count("x") == 300
        assert max(map(len, shown.splitlines())) <= 60


class TestSqlErrors:
    @pytest.mark.parametrize(
        ("query", "sentence"),
        [
            ("SELECT * FROM nowhere", f"there is no table 'nowhere'; {THE_VIEWS}"),
            ("SELECT * FROM catchment.one", f"there is no table 'catchment.one'; {THE_VIEWS}"),
            ("SELECT 1 FROM event JOIN users USING user_id", "there is no table 'event'; did you mean events?"),
            ("SELECT * FROM spared_event", "there is no table 'spared_event'; did you mean catchment.spared_events?"),
            ("DESCRIBE TABLE nowhere", f"there is no table 'nowhere'; {THE_VIEWS}"),
            ("DESCRIBE TABLE user", "there is no table 'user'; did you mean users?"),
            ("SELEC 1", "Syntax error"),
            ("", "the query is empty"),
            ("INSERT INTO event_rows VALUES (1)", "not INSERT"),
            ("SELECT throwIf(1, 'broken [bold]promise[/bold]')", "broken [bold]promise[/bold]"),
            ("SELECT '\\xff'", "UTF-8"),
        ],
    )
    def test_an_error_is_a_sentence_on_standard_error(
        self, server: Server, capsys: pytest.CaptureFixture[str], query: str, sentence: str
    ) -> None:
        assert run(["sql", query, "--data-dir", str(server.data_dir), "--format", "json"]) == 1
        told = capsys.readouterr()
        assert told.out == ""
        assert sentence in told.err
        assert "Traceback" not in told.err

    def test_a_query_may_begin_with_a_comment(self, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
        query = "-- how many?\nSELECT 1 AS one"
        assert run(["sql", query, "--format", "csv", "--data-dir", str(server.data_dir)]) == 0
        assert capsys.readouterr().out == "one\n1\n"

    def test_a_server_that_answers_in_no_json_is_told(
        self, server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            "catchment.cli.asking.running", lambda _: {"console": server.ingest + "/x", "tls_cert": None}
        )
        assert run(["sql", "SELECT 1", "--data-dir", str(server.data_dir)]) == 1
        assert "Traceback" not in capsys.readouterr().err


class TestRequest:
    def test_prints_the_events_of_an_accepted_request(self, app: AppOf, capsys: pytest.CaptureFixture[str]) -> None:
        events = [{"name": "ue.first", "attributes": {"n": 1}}, {"name": "ue.second", "tags": ["B", "a"]}]
        tokens = [
            app.post(f"{app.batch_path}/u {number}", {"events": events}, app.batch_headers).json()["token"]
            for number in range(2)
        ]
        app.events(4)
        out = printed(capsys, "request", tokens[1], "--format", "ndjson", data_dir=app.server.data_dir)
        first, second = [json.loads(line) for line in out.splitlines()]
        assert (first["name"], first["user_id"], first["properties"]) == ("ue.first", "u 1", {"n": 1})
        assert (second["name"], second["tags"], second["app"]) == ("ue.second", ["b", "a"], app.name)
        assert "ue.second" in printed(capsys, "request", tokens[0], data_dir=app.server.data_dir)

    @pytest.mark.parametrize("token", ["110e8400-e29b-11d4-b543-446655440000", "", "x' OR 1 --"])
    def test_a_token_of_no_event_is_told_with_what_to_do(
        self, server: Server, capsys: pytest.CaptureFixture[str], token: str
    ) -> None:
        assert run(["request", token, "--data-dir", str(server.data_dir)]) == 1
        told = capsys.readouterr()
        assert told.out == ""
        assert "about a second after the answer" in told.err
        assert "`catchment status`" in told.err


class TestPipes:
    @pytest.mark.parametrize(
        ("arguments", "lines_read"),
        [
            (["sql", "SELECT number FROM numbers(50000)", "--format", "ndjson"], 1),
            (["sql", "SELECT number FROM numbers(5000)"], 1),
            (["sql", "SELECT 1", "--format", "json"], 0),
            (["keys"], 1),
            (["status"], 0),
        ],
    )
    def test_a_reader_that_has_seen_enough_is_no_failure(
        self, server: Server, arguments: list[str], lines_read: int
    ) -> None:
        command = [sys.executable, "-m", "catchment", *arguments, "--data-dir", str(server.data_dir)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout
            assert process.stderr
            assert all(process.stdout.readline() for _ in range(lines_read))
            process.stdout.close()
            assert process.stderr.read() == ""
        assert process.returncode == 0

    def test_what_an_encoding_has_not_is_escaped(self, server: Server) -> None:
        environment = {"PYTHONIOENCODING": "ascii"}
        told = catchment("sql", "SELECT 'é' AS e", "--format", "csv", data_dir=server.data_dir, environment=environment)
        assert told == "e\n\\xe9\n"


class Tail:
    """`catchment tail` under way; `lines` are those it has printed so far."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        command = [sys.executable, "-m", "catchment", "tail", *options, "--data-dir", str(data_dir)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def events(self, count: int) -> list[dict[str, Any]]:
        """The first events, once there are so many."""
        until(lambda: len(self.lines) >= count, within_s=WITHIN_S, otherwise=lambda: f"{self.lines}")
        return [json.loads(line) for line in self.lines]

    def end(self) -> tuple[int, str]:
        """Ctrl-C; the exit code and what stands on standard error."""
        self._process.send_signal(signal.SIGINT)
        code = self._process.wait(WITHIN_S)
        self._thread.join()
        assert self._process.stdout
        assert self._process.stderr
        self._process.stdout.close()
        with self._process.stderr as errors:
            return code, errors.read()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self.lines.append(line)


def act(app: AppOf, *names: str, user_id: str = "u", **members: Any) -> None:
    actions = [{"action_name": name, "user_id": user_id, "request": {"uri": "https://x/y"}} | members for name in names]
    assert app.moesif("/v1/actions/batch", actions).status_code == 201


class TestTail:
    def test_prints_events_of_one_name_as_they_arrive(self, app: AppOf) -> None:
        name = f"tail-{app.name}"
        act(app, name, "other", name)
        tail = Tail(app.server.data_dir, "--name", name, "--format", "ndjson")
        assert [event["name"] for event in tail.events(2)] == [name, name]
        act(app, *[name] * 50, "other")
        assert [event["name"] for event in tail.events(52)] == [name] * 52
        assert tail.end() == (130, "")

    def test_prints_events_of_one_user(self, app: AppOf) -> None:
        user = f"user-{app.name}"
        tail = Tail(app.server.data_dir, "--user-id", user, "--format", "ndjson")
        act(app, "theirs", user_id=user)
        act(app, "others")
        act(app, "theirs", user_id=user)
        assert [(event["name"], event["app"]) for event in tail.events(2)] == [("theirs", app.name)] * 2
        assert tail.end() == (130, "")

    def test_prints_events_of_one_source_for_a_person(self, app: AppOf) -> None:
        tail = Tail(app.server.data_dir, "--source", "batch")
        act(app, "action")
        event = {"name": f"ue.{app.name}", "attributes": {"size": 42}}
        answer = app.post(f"{app.batch_path}/me", {"events": [event]}, app.batch_headers)
        assert answer.is_success
        until(lambda: any(f"ue.{app.name} me" in line for line in tail.lines), within_s=WITHIN_S)
        assert tail.end() == (130, "")
        assert all(line.split()[2] == "batch" for line in tail.lines)
        assert tail.lines[-1].endswith(f' batch  ue.{app.name} me {{"size": 42}}\n')

    def test_needs_a_server(self, configured: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["tail", "--data-dir", str(configured)]) == 1
        told = capsys.readouterr().err
        assert told == f"nothing runs on {configured}; start it with `catchment serve --data-dir {configured}`\n"

    def test_misses_none_of_many_after_a_quiet_start(self, app: AppOf) -> None:
        name = f"quiet-{app.name}"
        filters = {"name": name}
        quiet = app.server.api.get("/api/tail", params=filters).json()
        assert quiet["rows"] == []
        act(app, *[name] * 30)
        app.events(30)
        loud = app.server.api.get("/api/tail", params=filters | {"after": quiet["after"]}).json()
        assert len(loud["rows"]) == 30
        assert app.server.api.get("/api/tail", params=filters | {"after": loud["after"]}).json() == {
            "rows": [],
            "after": loud["after"],
        }


QUERIES = (
    "SELECT * EXCEPT loaded_at FROM events ORDER BY received_at",
    "SELECT * FROM users ORDER BY user_id",
    "SELECT * FROM rejections ORDER BY received_at",
)


class Stopped:
    """A data dir whose core was killed with events in the log that it had not loaded."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        write_apps(data_dir, ["default"])
        server = Server(data_dir, "--workers", "1")
        try:
            app = AppOf(server, "default")
            act(app, "seen", "seen", metadata={"odd": ODD_TEXT, "nested": {"a": [1, None]}})
            assert app.moesif("/v1/users", {"user_id": "u", "metadata": {"plan": "gold"}}).status_code == 201
            assert app.moesif("/v1/actions", b"{").status_code == 400
            app.rejections(1)
            app.events(2)
            until(lambda: server.api.get("/api/status").json()["lag"]["unread_bytes"] == 0, within_s=WITHIN_S)
            self.while_running = {query: server.sql(query) for query in QUERIES}
            [core] = server.parts("core")
            os.kill(core, signal.SIGSTOP)  # from here on nothing is loaded
            act(app, "unseen", user_id="v")
            edge = server.parts("edge")
        finally:
            for pid in (server.process.pid, *server.parts("core")):
                os.kill(pid, signal.SIGKILL)
            server.stop(check_books=False)
        until(lambda: not any(alive(pid) for pid in edge), within_s=WITHIN_S)

    def rows(self, query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(catchment("sql", query, "--format", "json", data_dir=self.data_dir))
        return found


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    return Stopped(tmp_path_factory.mktemp("stopped"))


class TestStopped:
    def test_sql_sees_what_was_accepted_and_not_loaded_when_the_core_was_killed(self, stopped: Stopped) -> None:
        query = "SELECT name FROM events ORDER BY received_at"
        assert [row["name"] for row in stopped.rows(query)] == ["seen", "seen", "unseen"]

    @pytest.mark.parametrize("query", QUERIES, ids=["events", "users", "rejections"])
    def test_sql_gives_the_same_rows_as_while_it_ran(self, stopped: Stopped, query: str) -> None:
        before = stopped.while_running[query]
        assert before
        assert stopped.rows(query)[: len(before)] == before

    def test_sql_tells_errors_in_the_same_way(self, stopped: Stopped) -> None:
        assert "not INSERT" in catchment("sql", "INSERT INTO log VALUES (1)", data_dir=stopped.data_dir, code=1)

    def test_status_tells_that_nothing_runs_and_what_there_is(self, stopped: Stopped) -> None:
        found = json.loads(status(stopped.data_dir, "--format", "json", code=3))
        assert (found["running"], found["attention"]) == (None, [])
        assert found["lag"] == {"unread_bytes": 0, "seconds": 0.0}
        assert [(rate["app"], rate["source"], rate["events"]) for rate in found["rates"]] == [("default", "moesif", 3)]
        text = status(stopped.data_dir, code=3)
        assert text.startswith("stopped\nlag      nothing waits\n")
        assert "\nbooks    balance over 24 h: 5 received = 4 stored + 0 duplicate + 1 rejected\n" in text

    def test_two_commands_at_one_time_wait_for_each_other(self, stopped: Stopped) -> None:
        command = [sys.executable, "-c", PATIENT, "sql", "SELECT 1", "--format", "csv"]
        command += ["--data-dir", str(stopped.data_dir)]
        both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        assert [process.communicate(timeout=2 * WITHIN_S)[0] for process in both] == ["1\n1\n"] * 2


class TestMaintenance:
    def test_is_turned_on_and_off_and_told_while_nothing_runs(
        self, configured: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert printed(capsys, "maintenance", data_dir=configured) == "maintenance is off\n"
        on = printed(capsys, "maintenance", "on", "--reason", "a\x1b[31m new disk", data_dir=configured)
        assert re.fullmatch(r"maintenance is on since [0-9TZ:-]{20}, nothing is accepted: a\\x1b\[31m new disk\n", on)
        assert printed(capsys, "maintenance", data_dir=configured) == on
        assert printed(capsys, "maintenance", "off", data_dir=configured) == "maintenance is off\n"


ROOM: dict[str, Any] = {
    "unread_bytes": 1_900_000_000,
    "unread_bytes_max": 68_700_000_000,
    "free_bytes": 71_200_000_000,
    "free_bytes_min": 536_870_912,
    "short": "",
    "bytes_per_second": None,
    "seconds_left": None,
}


class TestStatus:
    def test_tells_addresses_rates_lag_and_disk(self, app: AppOf, capsys: pytest.CaptureFixture[str]) -> None:
        act(app, "counted", "counted")
        app.events(2)
        text = printed(capsys, "status", data_dir=app.server.data_dir)
        server = app.server
        assert text.startswith(f"running  process {server.process.pid}, {server.ingest}, console {server.console}\n")
        lines = [line.replace("│", " ").split() for line in text.splitlines()]
        assert [app.name, "moesif", "2", "2", "2", "0"] in lines
        told = [line[0] for line in lines if line]
        assert told[:3] == ["running", "lag", "books"]
        assert told.index("disk") < told.index("room")
        assert "None" not in text

    def test_says_first_that_the_edge_does_not_answer(self, app: AppOf, capsys: pytest.CaptureFixture[str]) -> None:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            gone = f"http://127.0.0.1:{nobody.getsockname()[1]}"
            reason = asking._why_not_accepting({"ingest": gone, "tls_cert": None})
        assert reason
        assert f"it does not answer at {gone}: " in reason
        found = json.loads(printed(capsys, "status", "--format", "json", data_dir=app.server.data_dir))
        assert found["not_accepting"] is None
        report.print_status(found | {"not_accepting": reason})
        assert capsys.readouterr().out.splitlines()[1] == f"edge     {reason}"

    def test_says_where_another_program_has_the_port_of_the_edge(self, app: AppOf) -> None:
        other = app.server.console  # a server, but not the edge's /health/ready
        reason = asking._why_not_accepting({"ingest": f"{other}/api", "tls_cert": None})
        assert reason == f"what answers at {other}/api is another program; see what listens there"

    def test_json_has_all_figures(self, app: AppOf, capsys: pytest.CaptureFixture[str]) -> None:
        act(app, "counted")
        app.events(1)
        found = json.loads(printed(capsys, "status", "--format", "json", data_dir=app.server.data_dir))
        assert found["running"]["pid"] == app.server.process.pid
        [rate] = [rate for rate in found["rates"] if rate["app"] == app.name]
        assert rate == {
            "app": app.name,
            "source": "moesif",
            "events_last_minute": 1,
            "events_last_hour": 1,
            "events": 1,
            "rejections": 0,
        }
        assert all(found["disk"][f"{part}_bytes"] > 0 for part in ("log", "store", "free"))
        assert "event_rows" in {row["table"] for row in found["disk"]["tables"]}
        assert found["room"]["short"] == ""
        assert found["loader"]["failing_for_seconds"] is None

    @pytest.mark.parametrize(
        ("figures", "told"),
        [
            ({}, ""),
            ({"bytes_per_second": 8_100_000, "seconds_left": 7_300}, "; 2 hours left at 8.1 MB a second, then 503"),
            ({"bytes_per_second": 8_100_000, "seconds_left": 90}, "; 90 seconds left at 8.1 MB a second, then 503"),
            ({"bytes_per_second": 5, "seconds_left": 400_000}, "; 4 days left at 5 B a second, then 503"),
            ({"short": "log_full"}, "; log_full: nothing is accepted"),
        ],
    )
    def test_tells_how_long_the_log_will_last_though_no_core_answers(
        self, capsys: pytest.CaptureFixture[str], figures: dict[str, Any], told: str
    ) -> None:
        run_file = {"pid": 7, "ingest": "http://i", "console": "http://c"}
        report.print_status({"running": run_file, "unanswered": "no answer", "room": ROOM | figures})
        assert capsys.readouterr().out.splitlines() == [
            "running  process 7, http://i, console http://c",
            "core     no answer",
            f"room     1.9 GB of 68.7 GB wait in the log, 71.2 GB are free{told}",
        ]

    def test_tells_when_the_store_fails(self, capsys: pytest.CaptureFixture[str]) -> None:
        report.print_status(
            {
                "running": None,
                "books": {"received": 3, "stored": 2, "duplicate": 1, "rejected": 0, "difference": 0, "rows": []},
                "rates": [],
                "lag": {"unread_bytes": 2_500_000, "seconds": 12.5},
                "loader": {"failing_for_seconds": 12.5, "last_error": "no space left on [device]"},
                "disk": {
                    "log_bytes": 999,
                    "log_unread_bytes": 999,
                    "log_loaded_bytes": 0,
                    "log_aside_bytes": 0,
                    "log_aside_files": 0,
                    "store_bytes": 1_000,
                    "answers_bytes": 0,
                    "other_bytes": 0,
                    "free_bytes": 5_000_000_000_000,
                    "tables": [],
                },
                "retention": {"enforced_at": ""},
                "room": {
                    "unread_bytes": 999,
                    "unread_bytes_max": 5_000_000,
                    "free_bytes": 5_000_000_000_000,
                    "free_bytes_min": 1,
                    "short": "",
                    "bytes_per_second": 100,
                    "seconds_left": 7200,
                },
            }
        )
        told = capsys.readouterr().out.splitlines()
        assert told[:4] == [
            "stopped",
            "lag      2.5 MB wait, 12.5 s behind",
            "store    fails for 12.5 s: no space left on [device]",
            "books    balance over 24 h: 3 received = 2 stored + 1 duplicate + 0 rejected",
        ]
        assert "disk     2.0 kB used, 5.0 TB free" in told
        assert [line for line in told if line.startswith("room ")] == [
            "room     999 B of 5.0 MB wait in the log, 5.0 TB are free; 2 hours left at 100 B a second, then 503"
        ]
        assert "Nothing has arrived yet." in told
