"""`catchment rejections`: lists, groups, shows with the fault marked, and replays, never twice."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catchment import config, wiring
from catchment.cli.commands import run
from catchment.cli.excerpt import excerpt, steps
from catchment.cli.rejections import moment
from catchment.edge import rejections as kept
from catchment.errors import LogUnavailable
from catchment.loader import Loader
from catchment.log.log import LogWriter
from catchment.pseudonym import keeping_hashes, keyed_hash
from catchment.record import EventRecord, RejectionRecord, encode_lines
from catchment.replay import ROUTE_CHARS_MAX, BadFix, Fix, Replay
from tests.conftest import AppOf, catchment, until, write_apps

WITHIN_S = 90.0
ACTION = {"action_name": "Clicked Buy", "user_id": "u-1", "request": {}, "metadata": "none"}
CART = {"events": [{"name": "added_to_cart", "attributes": {"price": 1.0}}, {"name": "ue.left"}]}
MEND_NAMES = '.events[].name |= (if startswith("ue.") then . else "ue." + . end)'


def refuse(app: AppOf, body: object = ACTION) -> str:
    """Sends an action that is refused; the id of the rejection."""
    assert app.moesif("/v1/actions", body).status_code == 400
    return newest(app)


def refuse_batch(app: AppOf, body: object = CART, user: str = "u-9") -> str:
    assert app.post(f"{app.batch_path}/{user}", body, app.batch_headers).status_code == 400
    return newest(app)


def newest(app: AppOf) -> str:
    """The id of this application's newest rejection, once everything is loaded."""
    settle(app)
    rows = app.server.sql(
        "SELECT rejection_id FROM rejections WHERE app = {app:String} ORDER BY received_at DESC LIMIT 1", app=app.name
    )
    return str(rows[0]["rejection_id"])


def settle(app: AppOf) -> None:
    """A rejection is appended behind its answer, so an event that is visible tells that it was loaded too."""
    assert app.moesif("/v1/actions", {"action_name": "settle", "request": {}}).status_code == 201
    until(lambda: app.server.api.get("/api/status").json()["lag"]["unread_bytes"] == 0, within_s=WITHIN_S)


def told(app: AppOf, *arguments: str, code: int = 0) -> str:
    return catchment("rejections", *arguments, data_dir=app.server.data_dir, code=code)


def replayed(app: AppOf, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "catchment", "rejections", "replay", *arguments, "--format", "json"]
    done = subprocess.run(
        [*command, "--data-dir", str(app.server.data_dir)], capture_output=True, text=True, timeout=WITHIN_S
    )
    assert done.returncode == code, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def events(app: AppOf, count: int, *, name: str = "") -> list[dict[str, Any]]:
    return app.events(count, "name != 'settle' AND ({name:String} = '' OR name = {name:String})", name=name)


class TestList:
    def test_refusals_are_grouped_by_reason(self, app: AppOf) -> None:
        for _ in range(2):
            refuse(app)
        example = refuse(app, ACTION | {"metadata": 5})
        refuse(app, {"user_id": "u"})
        found = json.loads(told(app, "--app", app.name, "--format", "json"))
        assert [(row["refused"], row["replayed"], row["code"], row["path"]) for row in found] == [
            (3, 0, "invalid_field", "$.metadata"),
            (1, 0, "missing_field", "$.action_name"),
        ]
        assert found[0]["example"] == example
        assert found[0]["first_at"] < found[0]["last_at"]

    def test_the_options_narrow_the_list(self, app: AppOf) -> None:
        refuse(app)
        refuse_batch(app)
        whole = ("--app", app.name, "--all", "--format", "ndjson")
        rows = [json.loads(line) for line in told(app, *whole).splitlines()]
        assert [row["source"] for row in rows] == ["batch", "moesif"]
        for options, sources in [
            (("--source", "batch"), ["batch"]),
            (("--reason", "invalid_field"), ["moesif"]),
            (("--reason", "MUST MATCH"), ["batch"]),
            (("--since", "1h"), ["batch", "moesif"]),
            (("--since", "2100-01-01"), []),
            (("--since", rows[0]["received_at"]), ["batch"]),
        ]:
            assert [json.loads(line)["source"] for line in told(app, *whole, *options).splitlines()] == sources

    def test_no_refusals_are_said_in_words(self, app: AppOf) -> None:
        assert told(app, "--app", app.name) == "Nothing was refused that fits these options.\n"

    @pytest.mark.parametrize("since", ["1w", "yesterday", "1 h"])
    def test_a_time_that_cannot_be_read_is_told(self, app: AppOf, since: str) -> None:
        assert "write 90s, 15m, 1h, 7d, or 2026-01-31T12:00" in told(app, "--since", since, code=2)

    def test_a_time_with_an_offset_is_moved_to_utc(self) -> None:
        assert moment("2026-01-31T12:00+02:00") == "2026-01-31 10:00:00.000000"


class TestShow:
    def test_one_is_shown_with_its_fault_marked(self, app: AppOf) -> None:
        shown = told(app, "--show", refuse(app))
        assert "\x1b" not in shown
        assert "answer    400, code invalid_field: Expected `object`, at $.metadata" in shown
        assert "call      moesif  POST /v1/actions" in shown
        assert app.name in shown
        assert shown.endswith(
            '    "request": {},\n>   "metadata": "none"\n    ^^^^^^^^^^^^^^^^^^ Expected `object`\n  }\n'
        )

    def test_json_has_all_of_it(self, app: AppOf) -> None:
        found = json.loads(told(app, "--show", refuse(app), "--format", "json"))
        assert json.loads(found["payload"]) == ACTION
        assert found["replayed_at"] is None

    def test_an_unknown_id_is_told(self, app: AppOf) -> None:
        assert "no refused call has the id 'nothing'" in told(app, "--show", "nothing", code=1)


class TestReplay:
    def test_without_yes_nothing_is_changed(self, app: AppOf) -> None:
        rejection = refuse(app)
        shown = told(app, "replay", rejection, "--fix", '.metadata = {"plan": .metadata}')
        assert "accepted: 1 event" in shown
        assert '    -  "metadata": "none"\n    +  "metadata": {\n' in shown
        assert "Nothing was changed" in shown
        settle(app)
        assert events(app, 0) == []
        assert app.rejections(1)[0]["replayed_at"] is None

    def test_without_a_fix_it_is_still_refused_for_the_same_reason(self, app: AppOf) -> None:
        [outcome] = replayed(app, refuse(app), "--yes", code=1)
        assert (outcome["outcome"], outcome["path"], outcome["appended"]) == ("refused", "$.metadata", False)

    def test_a_mended_call_becomes_the_events_that_it_would_have_been(self, app: AppOf) -> None:
        rejection = refuse_batch(app)
        [outcome] = replayed(app, rejection, "--fix", MEND_NAMES, "--yes")
        assert (outcome["outcome"], outcome["records"], outcome["appended"]) == ("accepted", 2, True)
        first, second = events(app, 2)
        [row] = app.rejections(1)
        assert (first["name"], second["name"], first["user_id"]) == ("ue.added_to_cart", "ue.left", "u-9")
        assert first["time"] == second["time"] == row["received_at"]
        assert first["received_at"] > row["received_at"]
        assert (first["request_token"] != "", first["platform_key_kind"]) == (True, "")
        assert json.loads(first["payload"])["attributes"] == {"price": 1.0}
        assert '"price":1.0' in first["payload"]
        assert row["replayed_at"] >= first["received_at"]

    def test_a_second_replay_is_refused_and_again_adds_nothing(self, app: AppOf) -> None:
        rejection = refuse_batch(app)
        replayed(app, rejection, "--fix", MEND_NAMES, "--yes")
        events(app, 2)
        until(lambda: app.rejections(1)[0]["replayed_at"] is not None, within_s=WITHIN_S)
        [outcome] = replayed(app, rejection, "--fix", MEND_NAMES, "--yes", code=1)
        assert (outcome["outcome"], outcome["appended"]) == ("replayed", False)
        assert replayed(app, "--app", app.name, "--yes", code=1) == []
        [outcome] = replayed(app, rejection, "--fix", MEND_NAMES, "--yes", "--again")
        assert outcome["appended"]
        settle(app)
        assert len(events(app, 2)) == 2

    def test_two_replays_at_the_same_time_give_every_event_once(self, app: AppOf) -> None:
        rejection = refuse_batch(app)
        command = [sys.executable, "-m", "catchment", "rejections", "replay", rejection, "--fix", MEND_NAMES, "--yes"]
        command += ["--data-dir", str(app.server.data_dir)]
        both = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
        assert {process.wait(WITHIN_S) for process in both} <= {0, 1}
        settle(app)
        assert len(events(app, 2)) == 2

    def test_all_of_a_reason_are_replayed(self, app: AppOf) -> None:
        for number in range(3):
            refuse(app, ACTION | {"transaction_id": f"t-{number}"})
        outcomes = replayed(app, "--app", app.name, "--reason", "expected `object`", "--fix", "del(.metadata)", "--yes")
        assert [outcome["event_ids"] for outcome in outcomes] == [["t-0"], ["t-1"], ["t-2"]]
        assert [event["event_id"] for event in events(app, 3)] == ["t-0", "t-1", "t-2"]

    def test_a_credential_that_was_concealed_is_not_hashed_twice(self, app: AppOf) -> None:
        sound = {"action_name": "A", "session_token": "Bearer abc", "request": {}}
        assert app.moesif("/v1/actions", sound).status_code == 201
        rejection = refuse(app, sound | {"action_name": "B", "metadata": "none"})
        replayed(app, rejection, "--fix", "del(.metadata)", "--yes")
        first, second = events(app, 2)
        assert first["session_token"] == second["session_token"] != ""
        assert "abc" not in second["payload"]

    def test_an_update_does_not_take_back_later_ones(self, app: AppOf) -> None:
        old = {"user_id": "u", "metadata": {"plan": "free", "city": "Rome"}, "campaign": 5}
        assert app.moesif("/v1/users", old).status_code == 400
        rejection = newest(app)
        assert app.moesif("/v1/users", {"user_id": "u", "metadata": {"plan": "pro"}}).status_code == 201
        replayed(app, rejection, "--fix", "del(.campaign)", "--yes")
        replayed(app, rejection, "--fix", "del(.campaign)", "--yes", "--again")  # and the books still balance
        query = "SELECT profile.^metadata AS metadata FROM users WHERE app = {app:String} AND user_id = 'u'"
        wanted = {"plan": "pro", "city": "Rome"}
        until(lambda: app.server.sql(query, app=app.name) == [{"metadata": wanted}], within_s=WITHIN_S)

    def test_what_cannot_be_replayed_says_why(self, app: AppOf) -> None:
        long = refuse(app, ACTION | {"metadata": "x" * 70_000})
        assert app.moesif("/v1/nowhere", ACTION).status_code == 404
        nowhere = newest(app)
        assert app.moesif("/v1/actions", b"").status_code == 400
        empty = newest(app)
        outcomes = replayed(app, long, nowhere, empty, "--yes", code=1)
        assert {outcome["rejection_id"]: outcome["reason"] for outcome in outcomes} == {
            long: outcomes[0]["reason"],
            nowhere: "POST /v1/nowhere takes no events",
            empty: "it had no body",
        }
        assert re.match("only the first 65536 of 70[0-9]{3} bytes of its body were kept", outcomes[0]["reason"])

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            ((), "give either ids, or one of --reason"),
            (("id", "--reason", "x"), "give either ids, or one of --reason"),
            (("id", "--fix", ".a["), "--fix is no jq expression: jq: error: syntax error"),
        ],
    )
    def test_arguments_that_do_not_fit_are_told(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[str, ...], sentence: str
    ) -> None:
        write_apps(tmp_path, ["default"])
        assert run(["rejections", "replay", *arguments, "--data-dir", str(tmp_path)]) == 2
        assert sentence in capsys.readouterr().err


# Without a server


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    write_apps(tmp_path, ["default"])
    return tmp_path


def rejected(body: bytes | str, **other: Any) -> dict[str, Any]:
    """A row of the view `rejections`."""
    row = {
        "app": "default",
        "source": "batch",
        "received_at": "2026-03-02 10:00:00.000000",
        "rejection_id": "019cadf2-7e95-7000-8000-000000000002",
        "status": 400,
        "code": "31",
        "reason": "",
        "path": "",
        "method": "POST",
        "route": "/1.0/{api_key}/events/users/u-9",
        "payload": body if isinstance(body, str) else body.decode(),
        "payload_bytes": len(body),
        "ip": "192.0.2.1",
        "user_agent": "curl/8",
        "replayed_at": None,
    }
    return row | other


class _Dying:
    """A log that dies when it is given its second append."""

    failing = False
    number = 0

    def __init__(self, log: LogWriter) -> None:
        self._log = log
        self._appends = 0

    def append(self, lines: bytes) -> "asyncio.Future[None]":
        self._appends += 1
        if self._appends == 2:
            raise LogUnavailable("gone")
        return self._log.append(lines)

    async def close(self) -> None:
        await self._log.close()


def loaded(data_dir: Path, query: str) -> list[dict[str, Any]]:
    """The answer to a query, after everything in the log was loaded."""
    settings = config.load(data_dir)
    store, log = wiring.open_store(settings, data_dir), wiring.log_reader(settings, data_dir)
    try:
        loader = Loader(log, store, settings.loader)
        while loader.step():
            pass
        return store.query(query).rows
    finally:
        store.close()


async def test_a_replay_that_was_killed_between_is_finished_by_the_next_and_nothing_is_there_twice(
    data_dir: Path,
) -> None:
    settings = config.load(data_dir)
    replay = wiring.replay(settings, data_dir)
    ids = [f"019cadf2-7e95-7000-8000-00000000000{number}" for number in range(2)]
    rows = [rejected(json.dumps(CART), rejection_id=rejection) for rejection in ids]
    fix = Fix(MEND_NAMES)
    loop = asyncio.get_running_loop()
    dying = Replay(
        settings,
        wiring.dialects(settings, replaying=True),
        lambda records: None,
        lambda loop: _Dying(wiring.log_writer(settings, data_dir, loop)),
    )
    with pytest.raises(LogUnavailable):
        await dying.append([dying.rehearse(row, fix) for row in rows], fix, loop)
    for _ in range(2):
        await replay.append([replay.rehearse(row, fix) for row in rows], fix, loop)
    counted = "SELECT count() AS n, uniq(event_id) AS ids FROM events"
    assert loaded(data_dir, counted) == [{"n": 4, "ids": 4}]


def test_a_stopped_server_is_replayed_from_its_files(data_dir: Path) -> None:
    row = rejected(json.dumps(CART))
    fields = ("app", "source", "status", "code", "reason", "path", "method", "route", "payload", "payload_bytes", "ip")
    record = RejectionRecord(
        kind="rejection",
        event_id=row["rejection_id"],
        received_us=1772445600000000,
        **{name: row[name] for name in fields},
    )

    async def write() -> None:
        log = wiring.log_writer(config.load(data_dir), data_dir, asyncio.get_running_loop())
        await log.append(encode_lines([record]))
        await log.close()

    asyncio.run(write())
    shown = catchment("rejections", "replay", row["rejection_id"], "--fix", MEND_NAMES, "--yes", data_dir=data_dir)
    assert "1 accepted.\nAppended" in shown
    query = "SELECT name, toString(time) AS time FROM events ORDER BY name"
    assert json.loads(catchment("sql", query, "--format", "json", data_dir=data_dir)) == [
        {"name": "ue.added_to_cart", "time": "2026-03-02 10:00:00.000000"},
        {"name": "ue.left", "time": "2026-03-02 10:00:00.000000"},
    ]
    listed = json.loads(catchment("rejections", "--format", "json", data_dir=data_dir))
    assert [(group["refused"], group["replayed"]) for group in listed] == [(1, 1)]


def test_a_change_of_the_settings_is_enough(data_dir: Path) -> None:
    body = json.dumps({"events": [{"name": "ue." + "x" * 80}]})
    settings = config.load(data_dir)
    assert wiring.replay(settings, data_dir).rehearse(rejected(body)).kind == "refused"
    looser = config.load(data_dir, {"limits": {"batch_event_name_chars_max": 100}})
    assert wiring.replay(looser, data_dir).rehearse(rejected(body)).kind == "accepted"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (rejected("", app="", status=401), "it came without a valid key"),
        (rejected("", status=429), "it was refused before its body was read"),
        (rejected("", status=413), "its body was over the limit"),
        (rejected('{"app": 1}', code="unloadable", method="", route=""), "it was accepted, and the store"),
        (rejected("{}", route="/1.0/{api_key}/events/users/" + "u" * 300), "its path is too long"),
        (rejected("{}", app="gone"), "the application gone is not in the settings any more"),
        (rejected("{}", source="moloco", route="/t/c/PLATFORM"), "POST /t/c/PLATFORM takes no events"),
        (rejected("{}", source="moesif", route="/v1/config", method="GET"), "GET /v1/config takes no events"),
        (rejected("{}", source="moloco", route="/rmp/event/v1/platforms/X/userevents"), "the application has no keys"),
        (rejected('{"events": [', payload_bytes=90_000), "only the first 12 of 90000 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_reason_not_to_replay_is_told(data_dir: Path, row: dict[str, Any], reason: str) -> None:
    outcome = wiring.replay(config.load(data_dir), data_dir).rehearse(row)
    assert outcome.kind == "impossible"
    assert outcome.reason.startswith(reason)


def test_the_second_door_of_moloco_is_the_only_platform(data_dir: Path) -> None:
    body = {"event_type": "HOME", "channel_type": "SITE", "timestamp": "2026-03-01T00:00:00Z", "user_id": "u"}
    row = rejected(json.dumps(body), source="moloco", route="/cdp/SEGMENT")
    outcome = wiring.replay(config.load(data_dir), data_dir).rehearse(row)
    assert (outcome.kind, outcome.reason) == ("accepted", "")
    [record] = outcome.records
    assert isinstance(record, EventRecord)
    assert record.platform == "PLATFORM_DEFAULT"


def test_what_comes_of_a_rejection_has_the_same_ids_whenever_it_is_decoded(data_dir: Path) -> None:
    settings = config.load(data_dir)
    bodies = [json.dumps({"events": [{"name": "ue.a"}, {"name": "ue.b"}]}) for _ in range(2)]
    outcomes = [wiring.replay(settings, data_dir).rehearse(rejected(body)) for body in bodies]
    first, second = ([record.event_id for record in outcome.records] for outcome in outcomes)
    assert first == second
    assert len(set(first)) == 2
    other = wiring.replay(settings, data_dir).rehearse(rejected(bodies[0], rejection_id="another"))
    assert not set(first) & {record.event_id for record in other.records}


def test_the_edge_keeps_as_much_of_a_path_as_a_replay_believes() -> None:
    assert kept._ROUTE_CHARS_MAX == ROUTE_CHARS_MAX


class TestFix:
    def test_numbers_that_it_does_not_touch_stay_as_they_were_written(self) -> None:
        body = '{"a":1.0,"b":12345678901234567890,"c":"x","d":1.10}'
        assert Fix('.c = "y"')(body) == '{"a":1.0,"b":12345678901234567890,"c":"y","d":1.10}'

    @pytest.mark.parametrize(
        ("expression", "reason"),
        [(".[]", "it gives 2 values"), ("empty", "it gives 0 values"), (".a.b", "Cannot index number")],
    )
    def test_it_gives_one_body_or_fails(self, expression: str, reason: str) -> None:
        with pytest.raises(ValueError, match=reason):
            Fix(expression)('{"a":1,"b":2}')

    @pytest.mark.parametrize("expression", [".a[", ") | (", "nofunction"])
    def test_an_expression_that_cannot_be_read_is_told_at_once(self, expression: str) -> None:
        with pytest.raises(BadFix):
            Fix(expression)


def test_only_what_is_a_hash_stays_as_it_is() -> None:
    hashed = keyed_hash("key")
    keeping = keeping_hashes(hashed)
    assert keeping(hashed("abc")) == hashed("abc")
    for text in ("abc", "hash:abc", hashed("abc") + "0", hashed("abc").upper()):
        assert keeping(text) == hashed(text)


# The excerpt


def lines(body: str, path: str = "", reason: str = "why", *, whole: bool = True) -> Iterator[str]:
    found = excerpt(body, path, reason, whole=whole)
    for line in found.lines:
        yield line.text
        if line.marked:
            yield " " * line.marked[0] + "^" * (line.marked[1] - line.marked[0]) + " " + found.reason


class TestExcerpt:
    @pytest.mark.parametrize(
        ("path", "found"),
        [
            ("$", []),
            ("$.events[0].name", ["events", 0, "name"]),
            ("$[3].metadata", [3, "metadata"]),
            ("$.attributes['a b'].x", ["attributes", "a b", "x"]),
            ('$.a["it\'s"]', ["a", "it's"]),
            ("$.a[...]", ["a"]),
            ("", []),
        ],
    )
    def test_a_path_is_read_step_by_step(self, path: str, found: list[str | int]) -> None:
        assert steps(path) == found

    def test_a_member_is_marked(self) -> None:
        assert list(lines('{"a":[1,{"b":1e3}],"c":{}}', "$.a[1].b")) == [
            "{",
            '  "a": [',
            "    1,",
            "    {",
            '      "b": 1e3',
            "      ^^^^^^^^ why",
            "    }",
            "  ],",
            '  "c": {}',
            "}",
        ]

    def test_of_a_missing_member_its_object_is_marked(self) -> None:
        assert list(lines('{"a":[{"x":1}]}', "$.a[0].name", "is required")) == [
            "{",
            '  "a": [',
            "    {",
            "    ^ name: is required",
            '      "x": 1',
            "    }",
            "  ]",
            "}",
        ]

    def test_names_in_camel_case_are_found(self) -> None:
        assert excerpt('{"transactionId":"x"}', "$.transaction_id", "").lines[1].marked == (2, 22)

    def test_a_long_body_is_cut_around_the_fault_but_for_what_it_stands_in(self) -> None:
        body = json.dumps([{"n": number, "inner": [number] * 5} for number in range(100)])
        found = list(lines(body, "$[50].inner[2]"))
        assert len(found) < 25
        assert found[0] == "["
        assert found[1].startswith("… ")
        assert found[-1].startswith("… ")
        marked = next(number for number, line in enumerate(found) if "^" in line)
        assert found[marked - 1] == "      50,"

    def test_a_long_value_is_cut(self) -> None:
        assert list(lines(json.dumps({"a": "x" * 500}), "$.a"))[1].endswith("… (502 characters)")

    def test_of_a_body_that_is_no_json_the_byte_is_marked(self) -> None:
        body = '{"é": 1,\n "b": tru}'
        assert list(lines(body, "$", "JSON is malformed: invalid character (byte 19)")) == [
            '{"é": 1,',
            ' "b": tru}',
            "         ^ JSON is malformed: invalid character (byte 19)",
        ]

    def test_where_the_body_is_not_the_one_that_was_sent_its_own_fault_is_marked(self) -> None:
        assert list(lines('{"a": tru}', "$", "invalid (byte 90)", whole=False))[1].startswith("      ^ ")

    @pytest.mark.parametrize("body", ["", "[" * 5000, "x" * 1000, "nul", '"\\ud800"', "5"])
    def test_no_body_is_too_odd(self, body: str) -> None:
        assert list(lines(body, "$.a[0]"))


def test_the_dialects_that_replay_take_what_the_others_take(data_dir: Path) -> None:
    settings = config.load(data_dir)
    for usual, replaying in zip(wiring.dialects(settings), wiring.dialects(settings, replaying=True), strict=True):
        assert usual.source == replaying.source
        assert [route.endpoint for route in usual.routes] == [route.endpoint for route in replaying.routes]
