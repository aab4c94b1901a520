"""Lines: one a record, for a person or as JSON, so many of a kind a minute, and never a secret."""

import io
import json
import logging
import re
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from catchment import config
from catchment.settings import Logging
from catchment.telemetry import logs
from tests.conftest import Server, catchment, until, write_apps

WITHIN_S = 60.0


@pytest.fixture(autouse=True)
def _root_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in list(root.handlers):
        root.removeHandler(handler)
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(False)


def configured(format: str = "human", *, lines: int = 10, level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    settings = Logging.model_validate({"format": format, "lines_per_minute_max": lines, "level": level})
    logs.configure(settings, part="edge", stream=stream)
    return stream


def failing() -> None:
    raise ValueError("first\nsecond")


class TestForAPerson:
    def test_a_record_is_one_line_whatever_is_in_it(self) -> None:
        stream = configured()
        logging.getLogger("x").error("edge: %s", "a\n2026-11-22 ERROR forged\r\x1b[31m\u2028b")
        [line] = stream.getvalue().splitlines()
        assert line.endswith(" ERROR edge: a | 2026-11-22 ERROR forged\\x0d\\x1b[31m\\u2028b")

    def test_an_exception_is_its_name_its_text_and_where_it_came_through(self) -> None:
        stream = configured()
        try:
            failing()
        except ValueError:
            logging.getLogger("x").exception("loader: an attempt failed")
        [line] = stream.getvalue().splitlines()
        assert "loader: an attempt failed: ValueError: first | second at telemetry/test_logs.py:" in line
        assert " in failing, telemetry/test_logs.py:" in line

    def test_what_is_known_of_a_request_stands_behind_the_message(self) -> None:
        stream = configured()
        logging.getLogger("x").error("edge: no", extra={"request_id": "r-1", "source": "moesif", "color_message": "no"})
        assert stream.getvalue().endswith(" ERROR edge: no request_id=r-1 source=moesif\n")

    def test_what_is_below_the_level_is_not_told(self) -> None:
        stream = configured(level="warning")
        logging.getLogger("x").info("a")
        logging.getLogger("x").warning("b")
        assert [line.split()[-1] for line in stream.getvalue().splitlines()] == ["b"]

    def test_a_line_has_an_end(self) -> None:
        stream = configured()
        logging.getLogger("x").error("%s", "a" * 100_000)
        assert len(stream.getvalue()) < 2 * logs.LINE_CHARS_MAX


class TestAsJson:
    def test_each_line_is_an_object_that_says_who_wrote_it(self) -> None:
        stream = configured("json")
        logging.getLogger("x").error("edge: %s", "a\nb", extra={"request_id": "r-1", "color_message": "no"})
        found = json.loads(stream.getvalue())
        assert found.pop("time").endswith("+00:00")
        assert found.pop("pid") > 0
        assert found == {
            "level": "ERROR",
            "message": "edge: a\nb",
            "logger": "x",
            "part": "edge",
            "request_id": "r-1",
        }
        assert stream.getvalue().count("\n") == 1

    def test_an_exception_is_a_field(self) -> None:
        stream = configured("json")
        try:
            failing()
        except ValueError:
            logging.getLogger("x").exception("edge: defect")
        assert json.loads(stream.getvalue())["exception"].startswith("ValueError: first\nsecond at ")

    def test_a_text_that_is_no_utf8_is_told_all_the_same(self) -> None:
        stream = configured("json")
        logging.getLogger("x").error("edge: %s", "\ud800")
        assert json.loads(stream.getvalue())["message"] == "edge: \ud800"


class TestManyOfAKind:
    def lines(self, per_minute_max: int) -> tuple[logging.Logger, io.StringIO, list[float]]:
        now, stream = [0.0], io.StringIO()
        handler = logs.Lines(per_minute_max, stream, logs.Secrets(), clock=lambda: now[0])
        logger = logging.Logger("x")
        logger.addHandler(handler)
        return logger, stream, now

    def test_are_counted_and_told_in_one_line_when_the_minute_is_over(self) -> None:
        logger, stream, now = self.lines(2)
        for number in range(5):
            logger.error("disk %d fails: %s", number, "x")
        logger.error("something else")
        now[0] = 61
        logger.error("disk %d fails: %s", 9, "y")
        assert stream.getvalue().splitlines() == [
            "disk 0 fails: x",
            "disk 1 fails: x",
            "something else",
            "3 more in that minute: disk ... fails: ...",
            "disk 9 fails: y",
        ]

    def test_are_told_of_though_nothing_else_is_logged(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(logs, "MINUTE_S", 0.5)
        stream = configured(lines=1)
        for _ in range(100):
            logging.getLogger("x").error("same")

        def told() -> int:
            left_out = re.findall(r"(\d+) more in that minute: same left_out=\1\n", stream.getvalue())
            assert len(left_out) < 50, "nearly each was told by itself"
            return stream.getvalue().count(" ERROR same\n") + sum(map(int, left_out))

        until(lambda: told() == 100, within_s=WITHIN_S)  # in one minute, or in two where the machine stood still

    def test_are_told_of_when_the_process_ends(self) -> None:
        stream = configured(lines=1)
        for _ in range(3):
            logging.getLogger("x").error("same")
        logs.tell_left_out()
        assert "2 more in that minute: same" in stream.getvalue()

    def test_kinds_without_number_take_no_memory_without_end(self) -> None:
        logger, stream, _ = self.lines(1)
        for number in range(logs.KINDS_MAX + 50):
            logger.error(f"kind {number}")
        assert len(stream.getvalue().splitlines()) == logs.KINDS_MAX + 1


class TestSecrets:
    def test_of_the_settings_are_hidden_wherever_they_turn_up(self, tmp_path: Path) -> None:
        write_apps(tmp_path, ["default"])
        settings = config.load(tmp_path)
        stream = configured("json")
        logs.conceal(settings)
        secrets = known_secrets(settings.model_dump())
        assert len(secrets) == 8
        for secret in secrets:
            logging.getLogger("x").error("edge: %s!", secret, extra={"request_id": secret})
            try:
                raise ValueError(secret)
            except ValueError:
                logging.getLogger("x").exception("edge: defect")
        assert stream.getvalue().count(logs.HIDDEN) == 3 * len(secrets)
        assert not any(secret in stream.getvalue() for secret in secrets)

    def test_a_defect_is_described_without_its_text(self) -> None:
        try:
            failing()
        except ValueError as error:
            said = logs.described(error)
        assert said.startswith("ValueError at telemetry/test_logs.py:")
        assert "first" not in said
        assert logs.described(OSError(28, "No space left on device")).startswith("OSError: No space left on device at ")


def known_secrets(tree: object, *, inside: bool = False) -> list[str]:
    """All keys and tokens of the settings; the names of tables are none."""
    found: list[str] = []
    if isinstance(tree, dict):
        for name, value in tree.items():
            found += known_secrets(value, inside=inside or name in config.SECRETS)
    elif isinstance(tree, list):
        for value in tree:
            found += known_secrets(value, inside=inside)
    elif inside and isinstance(tree, str):
        found.append(tree)
    return found


def test_what_nobody_caught_is_a_line(tmp_path: Path) -> None:
    write_apps(tmp_path, ["default"])
    hooks = sys.excepthook, threading.excepthook
    try:
        logs.configure_server(config.load(tmp_path), part="core")
        stream = configured()
        thread = threading.Thread(target=failing)
        thread.start()
        thread.join()
        assert "CRITICAL nobody caught this: ValueError: first | second at " in stream.getvalue()
    finally:
        sys.excepthook, threading.excepthook = hooks


@pytest.mark.parametrize("format", ["human", "json"])
def test_nothing_that_a_server_prints_has_a_secret(tmp_path: Path, format: str) -> None:
    """Keys, tokens and bodies in odd places, and every sort of failure that can be had from outside."""
    data_dir = tmp_path / "data"
    write_apps(data_dir, ["default"])
    secrets = known_secrets(config.load(data_dir).model_dump())
    body_mark, wrong_key = "BODY-MARK-0123456789", "WRONG-KEY-0123456789"
    told = {"CATCHMENT_LOGGING__FORMAT": format, "CATCHMENT_LOGGING__LINES_PER_MINUTE_MAX": "1000"}
    server = Server(data_dir, "--workers", "1", environment=told, output=tmp_path)
    try:
        for secret in (*secrets, wrong_key):
            misuse(server, secret, body_mark)
        for secret in secrets:
            misuse(server, secret, body_mark, request_id=secret)
        garbage = f"{secrets[0]} {wrong_key}\r\n\r\n{body_mark}".encode()
        for url in (server.ingest, server.console):
            address = httpx.URL(url)
            with socket.create_connection((address.host, address.port or 0), timeout=WITHIN_S) as connection:
                connection.sendall(garbage)
                connection.recv(1000)
        catchment("maintenance", "on", "--reason", "x", data_dir=data_dir)
        until(lambda: server.http.get(server.ingest + "/health/ready").status_code == 503, within_s=WITHIN_S)
        misuse(server, secrets[0], body_mark)
        catchment("maintenance", "off", data_dir=data_dir)
    finally:
        code = server.stop(check_books=False)
    assert code == 0
    printed = (tmp_path / "stderr").read_text()
    lines = printed.splitlines()
    assert sum("a call was refused and kept" in line for line in lines) >= 10  # or this has looked at nothing
    assert any("maintenance is on" in line for line in lines)
    assert [secret for secret in (*secrets, wrong_key, body_mark) if secret in printed] == []
    if format == "json":  # else `serve` prints the keys there, for the person who started it
        assert (tmp_path / "stdout").read_text() == ""
        assert all({"time", "level", "message", "part"} <= json.loads(line).keys() for line in lines)


def misuse(server: Server, secret: str, mark: str, request_id: str = "seen-1") -> None:
    """The secret wherever it does not belong, and a body that is refused."""
    headers = {"user-agent": secret, "referer": secret, "x-forwarded-for": secret, "x-request-id": request_id}
    body = json.dumps({"action_name": 1, "user_id": secret, mark: secret})
    key = server.keys["default"]["moesif"]["application_id"]
    for path in (
        "/v1/actions",
        f"/v1/{secret}",
        f"/1.0/{secret}/events/users",
        f"/{secret}",
        f"/v1/actions?k={secret}",
    ):
        for given in ({"x-moesif-application-id": key}, {"x-moesif-application-id": secret}, {}):
            server.http.post(server.ingest + path, content=body, headers=headers | given)
    keyed = headers | {"x-moesif-application-id": key, "idempotency-key": secret}
    server.http.post(server.ingest + "/v1/actions", content=body, headers=keyed)
    server.http.request(secret[:20], server.ingest + "/v1/actions", headers=headers)
    server.api.post("/api/sql", json={"query": f"SELECT {mark} FROM '{secret}'"})
    server.api.get(f"/api/{secret}", headers={"authorization": f"Bearer {secret}", "x-request-id": request_id})
