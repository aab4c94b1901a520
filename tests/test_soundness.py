"""A `catchment.toml` that the next start would not take is told of while the server runs; so is that it is mended."""

import json
import logging
from functools import partial
from pathlib import Path

import pytest
import trustme

from catchment import config
from catchment.cli import report
from catchment.soundness import AGAIN_S, SoundnessWatch
from tests.conftest import Server, status, until, write_apps
from tests.test_metrics import value

WITHIN_S = 60.0
METRIC = "catchment_settings_sound"


class Watched:
    """A data dir whose file is watched; `found` is what was told of it."""

    def __init__(self, folder: Path, **ingest: str) -> None:
        write_apps(folder, ["default"])
        self.file = folder / config.FILE_NAME
        self.seconds = 0.0
        self.found: list[bool] = []
        load = partial(config.load, folder, {"ingest": ingest} if ingest else {}, with_files=True)
        self.watch = SoundnessWatch(folder, load(), load, self.found.append, clock=lambda: self.seconds)
        self.look()

    def look(self, times: int = 5) -> list[bool]:
        """What was told in so many looks, one a second."""
        self.found.clear()
        for _ in range(times):
            self.seconds += 1
            self.watch.look()
        return list(self.found)


class TestWatch:
    def test_a_mistake_is_told_once_and_so_is_that_it_is_mended(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        watched = Watched(tmp_path)
        assert watched.look() == []
        sound = watched.file.read_text()
        watched.file.write_text(sound + "[ingest]\nport = 99999\n")
        assert watched.look(50) == [False]
        watched.file.write_text(sound)
        assert watched.look() == [True]
        [broken, mended] = [record.getMessage() for record in caplog.records]
        assert "1 mistake. The settings in use stay, but the next start will fail until that is mended" in broken
        assert f"`catchment config check --data-dir {tmp_path}` shows where" in broken
        assert mended == f"{watched.file} is sound again: the next start will take it"

    def test_another_mistake_is_told_too(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        watched = Watched(tmp_path)
        sound = watched.file.read_text()
        for broken in ("[ingest]\nport = 99999\n", "[ingest]\nport = 99999\nhots = 1\n"):
            watched.file.write_text(sound + broken)
            watched.look()
        assert ["1 mistake." in record.message for record in caplog.records] == [True, False]
        assert "2 mistakes." in caplog.text

    def test_what_the_command_line_gives_is_given_at_the_next_start_too(self, tmp_path: Path) -> None:
        watched = Watched(tmp_path, port="8080")
        watched.file.write_text(watched.file.read_text() + "[ingest]\nport = 99999\n")
        assert watched.look() == []

    def test_a_certificate_that_cannot_be_used_is_a_mistake_as_long_as_it_cannot(self, tmp_path: Path) -> None:
        made = trustme.CA().issue_cert("127.0.0.1")
        cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
        made.cert_chain_pems[0].write_to_path(str(cert))
        made.private_key_pem.write_to_path(str(key))
        watched = Watched(tmp_path / "data", tls_cert=str(cert), tls_key=str(key))
        kept = cert.rename(tmp_path / "kept")
        assert watched.look() == [False]
        kept.rename(cert)
        assert watched.look(int(AGAIN_S) + 1) == [True]


def test_a_broken_file_is_in_the_metrics_the_log_output_and_status_until_it_is_mended(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    write_apps(data_dir, ["default"])
    server = Server(data_dir, "--workers", "1", output=tmp_path)
    try:
        told, file = tmp_path / "stderr", data_dir / config.FILE_NAME
        assert value(server, METRIC) == 1
        sound = file.read_text()
        file.write_text(sound.replace("[limits]", "[limits]\nlots = 1"))
        until(lambda: value(server, METRIC) == 0, within_s=WITHIN_S, otherwise=told.read_text)
        assert "the next start will fail until that is mended" in told.read_text()
        assert json.loads(status(data_dir, "--format", "json", code=0, warns=True))["settings_sound"] is False
        assert "settings catchment.toml has a mistake: the next start will fail" in status(data_dir, code=0, warns=True)
        file.write_text(sound)
        until(lambda: value(server, METRIC) == 1, within_s=WITHIN_S, otherwise=told.read_text)
        assert json.loads(status(data_dir, "--format", "json", code=0))["settings_sound"] is True
        file.write_text(sound + "\n[ingest]\nhost = 5\n")  # the parts do not see it, for they were given theirs
        until(lambda: value(server, METRIC) == 0, within_s=WITHIN_S, otherwise=told.read_text)
    finally:
        assert server.stop() == 0


def test_status_says_in_one_line_that_the_next_start_will_fail(capsys: pytest.CaptureFixture[str]) -> None:
    room = {"unread_bytes": 0, "unread_bytes_max": 1, "free_bytes": 1, "short": "", "seconds_left": None}
    found = {"running": None, "unanswered": "no answer", "room": room}
    report.print_status(found | {"settings_sound": False})
    assert capsys.readouterr().out.splitlines()[1] == (
        "settings catchment.toml has a mistake: the next start will fail; `catchment config check` shows where"
    )
    report.print_status(found | {"settings_sound": True})
    assert "settings" not in capsys.readouterr().out
