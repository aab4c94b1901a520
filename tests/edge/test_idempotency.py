"""Idempotency-Key: a call that is sent again counts once, whatever happened in between."""

import json
import os
import re
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from catchment.dialects.dialect import Answer, Call, Caller, Route
from catchment.edge import answers
from catchment.edge.answers import Answers
from catchment.edge.idempotency import KEY_CHARS_MAX, BadKey, KeyedCall, key_of, mark_undated
from catchment.record import EventRecord
from catchment.settings import Limits
from tests.conftest import AppOf, Server, until, write_apps

ACTION = {"action_name": "A", "request": {"uri": "https://x/y"}}
BATCH = {"events": [{"name": "ue.x"}, {"name": "ue.x"}]}
MOLOCO = {"event_type": "HOME", "channel_type": "SITE", "timestamp": 1617870506121, "user_id": "u"}
CREATED = Answer(201, [("content-type", "application/json")], b'{"token":"t"}')
SOURCES = ("moesif", "batch", "moloco")


def keyed(
    key: str = "k",
    *,
    source: str = "batch",
    app: str = "shop",
    scope: str = "",
    endpoint: str = "single",
    user: str = "u",
    query: str = "",
    body: bytes = b"{}",
) -> KeyedCall:
    route = Route("POST", endpoint, re.compile(""), 1000)
    return KeyedCall(
        key, source, Caller(app, scope=scope), route, Call("POST", "/", query, {}, "", {"user_id": user}), body
    )


class TestKey:
    @pytest.mark.parametrize(
        ("header", "key"),
        [
            ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
            ('"8e03978e-40d5-43dd-bc93-6894a57f9324"', "8e03978e-40d5-43dd-bc93-6894a57f9324"),
            (' "a b" ', "a b"),
            ('"a\\"b\\\\c"', 'a"b\\c'),
            ('"a";v=1', "a"),
            ("a b;c", "a b;c"),
            ("k" * KEY_CHARS_MAX, "k" * KEY_CHARS_MAX),
        ],
    )
    def test_is_the_same_with_quotes_and_without(self, header: str, key: str) -> None:
        assert key_of(header) == key

    @pytest.mark.parametrize(
        "header", ["", " ", '""', '"a', '"a"b', '"a\\b"', "é", "a\tb", "a\x7f", "k" * 256, '"' + "k" * 256 + '"']
    )
    def test_is_printable_ascii_of_a_bounded_length(self, header: str) -> None:
        with pytest.raises(BadKey, match="1 to 255"):
            key_of(header)


class TestKeyedCall:
    def test_makes_the_same_ids_again_and_each_only_once(self) -> None:
        first, again = keyed(), keyed()
        ids = [first.new_id() for _ in range(1000)]
        assert ids == [again.new_id() for _ in range(1000)]
        assert len(set(ids)) == 1000
        assert {(UUID(one).version, UUID(one).variant) for one in ids} == {(8, "specified in RFC 4122")}

    def test_another_scope_key_or_request_makes_other_ids(self) -> None:
        calls = [
            keyed(), keyed("l"), keyed(source="moloco"), keyed(app="other"), keyed(endpoint="bulk"), keyed(user="v"),
            keyed(query="q"), keyed(body=b"[]"), keyed("ku", app="s"), keyed(scope="platform"),
        ]  # fmt: skip
        assert len({call.new_id() for call in calls}) == len(calls)

    def test_an_event_has_no_day_where_its_time_is_the_servers(self) -> None:
        now = datetime(2026, 1, 2, 23, 59, 59, tzinfo=UTC)
        given: dict[str, Any] = {"app": "a", "source": "batch", "kind": "event", "received_us": 1, "payload": ""}
        records = [EventRecord(event_id=name, name="n", time=time, **given)
                   for name, time in (("servers", now), ("clients", datetime(2026, 1, 2, tzinfo=UTC)))]  # fmt: skip
        mark_undated(records, now)
        assert [record.undated for record in records] == [True, False]


class Memory:
    """A memory whose clock stands until the test moves it."""

    def __init__(self, file: Path, **limits: Any) -> None:
        self.file = file
        self.now = 1_800_000_000.0
        self.answers = Answers(file, Limits(**limits), lambda: self.now)

    def rows(self) -> int:
        with sqlite3.connect(self.file) as connection:
            [count] = connection.execute("SELECT count(*) FROM answers").fetchone()
        connection.close()
        return int(count)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    made = Memory(tmp_path / answers.FILE_NAME)
    yield made
    made.answers.close()


class TestAnswers:
    async def test_the_first_answer_stays_for_its_time(self, memory: Memory) -> None:
        assert await memory.answers.recall(keyed()) is None
        await memory.answers.remember(keyed(), CREATED)
        await memory.answers.remember(keyed(), CREATED._replace(status=200))
        memory.now += 24 * 3600 - 1
        assert await memory.answers.recall(keyed()) == (keyed().asked, CREATED)
        memory.now += 1
        assert await memory.answers.recall(keyed()) is None
        await memory.answers.remember(keyed(body=b"2"), CREATED)
        assert await memory.answers.recall(keyed()) == (keyed(body=b"2").asked, CREATED)

    async def test_another_process_and_a_later_one_know_it(self, memory: Memory) -> None:
        other = Memory(memory.file)
        assert await other.answers.recall(keyed()) is None
        await memory.answers.remember(keyed(), CREATED)
        assert await other.answers.recall(keyed()) == (keyed().asked, CREATED)
        other.answers.close()
        later = Memory(memory.file)
        assert await later.answers.recall(keyed()) == (keyed().asked, CREATED)
        later.answers.close()

    async def test_keys_belong_to_an_application_and_source(self, memory: Memory) -> None:
        await memory.answers.remember(keyed(), CREATED)
        assert await memory.answers.recall(keyed(app="other")) is None
        assert await memory.answers.recall(keyed(source="moloco")) is None
        assert await memory.answers.recall(keyed(scope="platform")) is None

    async def test_expired_answers_go_a_few_at_a_time(self, memory: Memory) -> None:
        for number in range(40):
            await memory.answers.remember(keyed(str(number)), CREATED)
        memory.now += 25 * 3600
        for count, number in enumerate(range(100, 106), 1):
            await memory.answers.remember(keyed(str(number)), CREATED)
            assert memory.rows() == max(0, 40 - answers.PURGED_ROWS_MAX * count) + count

    async def test_of_more_keys_than_the_limit_the_oldest_go(self, tmp_path: Path) -> None:
        memory = Memory(tmp_path / answers.FILE_NAME, idempotency_keys_max=10)
        for number in range(30):
            await memory.answers.remember(keyed(str(number)), CREATED)
        assert memory.rows() == 10
        assert await memory.answers.recall(keyed("19")) is None
        assert await memory.answers.recall(keyed("20"))
        memory.answers.adopt(Limits(idempotency_keys_max=0))
        await memory.answers.remember(keyed("30"), CREATED)
        assert await memory.answers.recall(keyed("20")) is None
        memory.answers.close()
        assert memory.rows() == 10

    async def test_a_file_that_fails_costs_nothing_but_the_memory(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        file = tmp_path / answers.FILE_NAME
        file.write_text("this is no database " * 100)
        memory = Memory(file)
        for _ in range(3):
            await memory.answers.remember(keyed(), CREATED)
            assert await memory.answers.recall(keyed()) is None
        memory.answers.close()
        assert caplog.text.count("calls with an Idempotency-Key still count once") == 1


def sample(app: AppOf, source: str) -> tuple[str, dict[str, str], Any]:
    """Address, headers and body of a call whose events have no id of their own, and where they may, no time either."""
    if source == "moesif":
        return "/v1/actions/batch", app.moesif_headers, [ACTION, ACTION]
    if source == "batch":
        return app.batch_path + "/u", app.batch_headers, BATCH
    return app.moloco_path, app.moloco_headers, MOLOCO


EVENTS = {"moesif": 2, "batch": 2, "moloco": 1}


def send(app: AppOf, source: str, key: str, body: Any = None, path: str = "") -> httpx.Response:
    """The call over a connection of its own, which may reach any worker."""
    usual_path, headers, usual_body = sample(app, source)
    with httpx.Client(trust_env=False, timeout=30) as client:
        url = app.server.ingest + (path or usual_path)
        return client.post(url, json=body or usual_body, headers=headers | {"Idempotency-Key": key})


def said(answer: httpx.Response) -> tuple[int, bytes, str]:
    return answer.status_code, answer.content, answer.headers["content-type"]


@pytest.mark.parametrize("source", SOURCES)
class TestOverTheWire:
    def test_the_same_call_gets_the_first_answer_from_every_worker_and_counts_once(
        self, app: AppOf, source: str
    ) -> None:
        first = send(app, source, "key-1")
        assert first.is_success
        assert {said(send(app, source, key)) for key in ["key-1", '"key-1"'] * 10} == {said(first)}
        assert send(app, source, "key-2").is_success
        assert len(app.events(2 * EVENTS[source])) == 2 * EVENTS[source]

    def test_another_body_under_the_key_is_refused_in_the_vendors_form(self, app: AppOf, source: str) -> None:
        assert send(app, source, "key").is_success
        _, _, body = sample(app, source)
        other = [ACTION] if source == "moesif" else body | {"events": [{"name": "ue.y"}], "user_id": "v"}
        answer = send(app, source, "key", other)
        assert answer.status_code == 422
        [kept] = app.rejections(1)
        assert (kept["status"], kept["source"]) == (422, source)
        assert json.loads(kept["payload"]) == other
        error = answer.json()
        assert {"moesif": "moesif_error", "batch": "type", "moloco": "details"}[source] in error
        assert "this Idempotency-Key was used for another request before" in answer.text
        assert len(app.events(EVENTS[source])) == EVENTS[source]

    @pytest.mark.parametrize("key", ["", '""', '"a', "k" * 256])
    def test_a_malformed_key_is_refused(self, app: AppOf, source: str, key: str) -> None:
        answer = send(app, source, key)
        assert answer.status_code == 400
        assert "Idempotency-Key" in answer.text
        assert app.rejections(1)[0]["status"] == 400

    def test_a_refusal_is_not_remembered(self, app: AppOf, source: str) -> None:
        assert [send(app, source, "key", {"a": 1}).status_code for _ in range(2)] == [400, 400]
        assert send(app, source, "key").is_success
        assert len(app.events(EVENTS[source])) == EVENTS[source]

    def test_calls_at_the_same_time_count_once(self, app: AppOf, source: str) -> None:
        found: list[tuple[int, bytes, str]] = []
        start = threading.Barrier(8)

        def post() -> None:
            start.wait()
            found.append(said(send(app, source, "key")))

        threads = [threading.Thread(target=post) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8
        assert len(set(found)) == 1
        assert send(app, source, "later").is_success
        assert len(app.events(2 * EVENTS[source])) == 2 * EVENTS[source]


def test_another_user_in_the_path_is_another_call(app: AppOf) -> None:
    assert send(app, "batch", "key").status_code == 201
    assert send(app, "batch", "key", path=app.batch_path + "/other").status_code == 422


def test_the_token_of_a_repeated_call_finds_its_events(app: AppOf) -> None:
    token = [send(app, "batch", "key").json()["token"] for _ in range(2)][1]
    assert len(app.events(2, "request_token = {token:String}", token=token)) == 2


def test_a_profile_update_that_comes_again_does_not_undo_a_later_one(app: AppOf) -> None:
    for plan, key in (("free", "a"), ("pro", "b"), ("free", "a")):
        body = {"user_id": "u", "metadata": {"plan": plan}}
        assert send(app, "moesif", key, body, "/v1/users").status_code == 201
    assert send(app, "moesif", "c", {"user_id": "u2"}, "/v1/users").status_code == 201
    query = (
        "SELECT toString(profile) AS text FROM users WHERE app = {app:String} AND (user_id = 'u2' OR text LIKE '%pro%')"
    )
    app.server.rows_when(2, query, app=app.name)


def test_a_key_of_bytes_that_are_no_ascii_is_refused(app: AppOf) -> None:
    body = json.dumps(ACTION).encode()
    host, port = app.server.ingest.removeprefix("http://").split(":")
    head = f"POST /v1/actions HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n"
    head += f"X-Moesif-Application-Id: {app.moesif_headers['X-Moesif-Application-Id']}\r\n"
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(head.encode() + b"Idempotency-Key: \xff\xc3\xa9\r\n\r\n" + body)
        assert connection.recv(1000).startswith(b"HTTP/1.1 400")


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    write_apps(tmp_path, ["default"])
    server = Server(tmp_path, "--workers", "2")
    yield server
    server.stop()


def test_a_server_that_starts_again_remembers(own_server: Server) -> None:
    app = AppOf(own_server, "default")
    first = {source: said(send(app, source, "key")) for source in SOURCES}
    assert own_server.stop() == 0
    own_server.start()
    app = AppOf(own_server, "default")
    assert {source: said(send(app, source, "key")) for source in SOURCES} == first
    assert send(app, "batch", "key", {"events": [{"name": "ue.y"}]}).status_code == 422
    assert len(app.events(sum(EVENTS.values()))) == sum(EVENTS.values())


def test_without_its_memory_a_repeated_call_still_counts_once(own_server: Server) -> None:
    """What a kill between the log and the memory leaves, or a disk that has no room for the memory."""
    app = AppOf(own_server, "default")
    first = {source: said(send(app, source, "key")) for source in SOURCES}
    with sqlite3.connect(own_server.data_dir / answers.FILE_NAME, timeout=60) as connection:
        connection.execute("DELETE FROM answers")
    connection.close()
    assert {source: said(send(app, source, "key")) for source in SOURCES} == first
    assert send(app, "batch", "later").status_code == 201
    assert len(app.events(sum(EVENTS.values()) + 2)) == sum(EVENTS.values()) + 2


class Client(threading.Thread):
    """Sends numbered calls, whose events have no ids, each until it is answered; every other one once more after."""

    def __init__(self, number: int, app: AppOf, done: threading.Event) -> None:
        super().__init__(daemon=True)
        self.number = number
        self.app = app
        self.done = done
        self.tokens: dict[str, str] = {}
        self.other_tokens: list[str] = []
        self.retries = 0

    def run(self) -> None:
        with httpx.Client(base_url=self.app.server.ingest, trust_env=False, timeout=10) as http:
            count = 0
            while not self.done.is_set():
                name = f"{self.number}_{count}"
                while not self.done.is_set() and name not in self.tokens:
                    if token := self._post(http, name):
                        self.tokens[name] = token
                if count % 2 and (token := self._post(http, name)) and token != self.tokens[name]:
                    self.other_tokens.append(name)
                count += 1

    def _post(self, http: httpx.Client, name: str) -> str | None:
        body = {"events": [{"name": "ue.x", "label": name}]}
        try:
            answer = http.post(
                self.app.batch_path + "/u", json=body, headers=self.app.batch_headers | {"Idempotency-Key": name}
            )
        except httpx.HTTPError:
            self.retries += 1
            time.sleep(0.05)
            return None
        return str(answer.json()["token"]) if answer.status_code == 201 else None


def test_clients_that_send_again_after_kills_count_once(own_server: Server) -> None:
    done = threading.Event()
    clients = [Client(number, AppOf(own_server, "default"), done) for number in range(4)]
    for client in clients:
        client.start()
    for kill in range(6):
        goal = sum(len(client.tokens) for client in clients) + 100
        until(lambda goal=goal: sum(len(client.tokens) for client in clients) > goal, within_s=60)  # type: ignore[misc]
        workers = own_server.parts("edge")[1:]
        if workers:
            os.kill(workers[kill % len(workers)], signal.SIGKILL)
    done.set()
    for client in clients:
        client.join(120)
    assert not any(client.is_alive() for client in clients)
    tokens = {name: token for client in clients for name, token in client.tokens.items()}
    assert any(client.retries for client in clients), "the kills were felt"
    assert [client.other_tokens for client in clients] == [[]] * len(clients)
    rows: list[dict[str, Any]] = []

    def all_there() -> bool:
        rows[:] = own_server.sql("SELECT label, request_token FROM events")
        return tokens.keys() <= {row["label"] for row in rows}

    until(all_there, within_s=60)
    assert len(rows) == len({row["label"] for row in rows}), "double"
    assert tokens.items() <= {row["label"]: row["request_token"] for row in rows}.items()
