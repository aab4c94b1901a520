"""A change of `catchment.toml` is taken while the server runs, and a mistake in it changes nothing."""

import contextlib
import logging
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
import tomlkit

from catchment import config
from catchment.edge.reload import SettingsWatch
from catchment.settings import Settings
from tests.conftest import Server, until, write_apps

ACTION = {"action_name": "A", "request": {"uri": "https://x/y"}}
KEY = "moesif-" + "n" * 50
CONNECTIONS = 20
TAKEN_WITHIN_S = 60.0


class Edited:
    """A configuration that is edited, and a watch on it whose looks are made by hand."""

    def __init__(self, folder: Path, *, speaks: bool = True) -> None:
        write_apps(folder, ["default"])
        self.file = folder / config.FILE_NAME
        self.loads = 0
        self.adopted: list[Settings] = []
        self._folder = folder
        self._step = 0
        self.watch = SettingsWatch(self.file, self._load, config.load(folder), sound=self._sound, speaks=lambda: speaks)

    def _load(self) -> Settings:
        self.loads += 1
        return config.load(self._folder)

    def _sound(self) -> Settings:
        return config.load(self._folder, name=config.SOUND_NAME)

    def write(self, text: str | bytes) -> None:
        """Writes the file in place, at a time of its own however coarse the disk's times are."""
        self.file.write_bytes(text.encode() if isinstance(text, str) else text)
        self._step += 1
        os.utime(self.file, ns=(self._step, self._step))

    def change(self, *path: str, value: Any) -> None:
        document: Any = tomlkit.parse(self.file.read_text())
        place = document
        for name in path[:-1]:
            place = place.setdefault(name, tomlkit.table())
        place[path[-1]] = value
        self.write(tomlkit.dumps(document))

    async def look(self, times: int = 2) -> None:
        for _ in range(times):
            await self.watch.look(self.adopted.append)


@pytest.fixture
def edited(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Edited:
    caplog.set_level(logging.INFO, "catchment.edge.reload")
    made = Edited(tmp_path)
    assert made.watch.start() == config.load(tmp_path)
    return made


class TestWatch:
    async def test_a_change_is_taken_once_it_has_settled(self, edited: Edited) -> None:
        await edited.look()
        assert (edited.loads, edited.adopted) == (1, [])
        edited.change("limits", "batch_events_max", value=7)
        await edited.look(1)
        assert edited.adopted == []
        edited.change("limits", "batch_events_max", value=8)
        await edited.look(1)
        assert edited.adopted == []
        await edited.look(5)
        assert [settings.limits.batch_events_max for settings in edited.adopted] == [8]
        assert edited.loads == 2

    async def test_a_file_that_says_the_same_changes_nothing(self, edited: Edited) -> None:
        edited.write("# a comment\n" + edited.file.read_text())
        await edited.look()
        assert (edited.loads, edited.adopted) == (2, [])

    async def test_a_file_that_is_moved_into_place_is_taken(self, edited: Edited) -> None:
        before = edited.file.stat()
        edited.change("limits", "batch_events_max", value=7)
        other = edited.file.with_name("other")
        other.write_bytes(edited.file.read_bytes())
        os.utime(other, ns=(before.st_mtime_ns, before.st_mtime_ns))
        other.replace(edited.file)
        await edited.look()
        assert [settings.limits.batch_events_max for settings in edited.adopted] == [7]

    @pytest.mark.parametrize(
        ("broken", "mistake"),
        [
            (b"[[[", "not valid TOML"),
            (b"\xff", "is not UTF-8"),
            (b"[apps.default.moesif]\napplication_ids = 5\n[limits]\nlots = 1", "limits.lots: there is no such"),
        ],
    )  # fmt: skip
    async def test_mistakes_are_told_once_and_change_nothing_until_they_are_mended(
        self, edited: Edited, caplog: pytest.LogCaptureFixture, broken: bytes, mistake: str
    ) -> None:
        sound = edited.file.read_text()
        edited.write(broken)
        await edited.look(10)
        assert (edited.loads, edited.adopted) == (2, [])
        [told] = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert mistake in told.message
        assert "the settings in use stay" in told.message
        edited.write(sound)
        edited.change("limits", "batch_events_max", value=7)
        await edited.look()
        assert [settings.limits.batch_events_max for settings in edited.adopted] == [7]

    async def test_a_file_that_vanishes_and_one_that_comes_back(
        self, edited: Edited, caplog: pytest.LogCaptureFixture
    ) -> None:
        kept = edited.file.rename(edited.file.with_name("kept"))
        await edited.look(5)
        assert edited.adopted == []
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert "there is no catchment.toml" in caplog.text
        kept.rename(edited.file)
        edited.change("limits", "batch_events_max", value=7)
        await edited.look()
        assert [settings.limits.batch_events_max for settings in edited.adopted] == [7]

    async def test_the_environment_still_wins(self, edited: Edited, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CATCHMENT_LIMITS__BATCH_EVENTS_MAX", "9")
        edited.change("limits", "batch_events_max", value=7)
        await edited.look()
        assert [settings.limits.batch_events_max for settings in edited.adopted] == [9]

    async def test_what_waits_for_the_next_start_is_named_once(
        self, edited: Edited, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CATCHMENT_INGEST__PORT", "1234")  # as the supervisor does
        edited.change("ingest", "port", value=9999)
        edited.change("ingest", "trusted_proxies", value=["10.0.0.0/8"])
        edited.change("geo", "database", value="/x.mmdb")
        await edited.look()
        edited.change("limits", "batch_events_max", value=7)
        await edited.look()
        warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
        assert warnings == ["edge: the next start takes what has changed in geo.database, ingest.port"]
        assert edited.adopted[-1].ingest.trusted_proxies == ["10.0.0.0/8"]

    async def test_a_worker_that_starts_while_the_file_is_broken_uses_what_it_was_given(self, tmp_path: Path) -> None:
        edited = Edited(tmp_path)
        given, sound = edited.watch.settings, edited.file.read_text()
        edited.write("[[[")
        assert edited.watch.start() is given
        edited.write(sound)
        edited.change("limits", "batch_events_max", value=7)
        await edited.look()
        assert [settings.limits.batch_events_max for settings in edited.adopted] == [7]

    async def test_and_the_last_sound_version_of_the_file_if_there_is_one(self, tmp_path: Path) -> None:
        edited = Edited(tmp_path)
        edited.change("limits", "batch_events_max", value=7)
        config.keep_sound(tmp_path)
        edited.write("[[[")
        assert edited.watch.start().limits.batch_events_max == 7
        assert edited.watch.settings.limits.batch_events_max == 7
        edited.file.write_bytes((tmp_path / config.SOUND_NAME).read_bytes())
        edited.change("limits", "batch_events_max", value=8)
        await edited.look()
        assert [settings.limits.batch_events_max for settings in edited.adopted] == [8]

    async def test_only_the_one_that_speaks_is_heard(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        edited = Edited(tmp_path, speaks=False)
        edited.watch.start()
        with caplog.at_level(logging.INFO):
            edited.write("[[[")
            await edited.look()
        assert (edited.loads, caplog.records) == (2, [])

    async def test_settings_that_cannot_be_used_after_all_leave_the_old_ones(self, edited: Edited) -> None:
        def fail(_settings: Settings) -> None:
            raise RuntimeError

        before = edited.watch.settings
        edited.change("limits", "batch_events_max", value=7)
        await edited.look(1)
        with pytest.raises(RuntimeError):
            await edited.watch.look(fail)
        assert edited.watch.settings is before


def statuses(server: Server, key: str) -> set[int]:
    """The answers to this application id over many connections, which reach all processes."""
    found = set()
    for _ in range(CONNECTIONS):
        with httpx.Client(trust_env=False, timeout=30) as client:
            answer = client.post(f"{server.ingest}/v1/actions", json=ACTION, headers={"X-Moesif-Application-Id": key})
            found.add(answer.status_code)
    return found


def answers(server: Server, expected: dict[str, int]) -> None:
    """Waits until every process answers these keys like this."""
    until(
        lambda: all(statuses(server, key) == {status} for key, status in expected.items()),
        within_s=TAKEN_WITHIN_S,
        otherwise=lambda: str({key: statuses(server, key) for key in expected}),
    )


def test_a_running_server_takes_what_changes_and_outlasts_mistakes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_apps(tmp_path, ["default", "other"])
    server = Server(tmp_path, "--workers", "2")
    try:
        file = tmp_path / config.FILE_NAME
        old = server.keys["default"]["moesif"]["application_id"]
        other = server.keys["other"]["moesif"]["application_id"]
        assert statuses(server, KEY) == {401}
        assert statuses(server, old) == {201}
        sound = file.read_text()

        file.write_text(sound.replace(old, KEY))
        answers(server, {KEY: 201, old: 401, other: 201})

        file.write_text(sound.replace("[limits]", "[limits]\nlots = 1"))
        heard = ""

        def complained() -> bool:
            nonlocal heard
            heard += capfd.readouterr().err
            return "limits.lots" in heard

        until(complained, within_s=TAKEN_WITHIN_S)
        answers(server, {KEY: 201, old: 401, other: 201})

        file.write_text(sound + "\n[sql]\nseconds_max = 20\n")
        answers(server, {KEY: 401, old: 201, other: 201})
    finally:
        assert server.stop() == 0
    heard += capfd.readouterr().err
    assert heard.count("limits.lots: there is no such setting") == 1
    assert heard.count("the next start takes what has changed in sql.seconds_max") == 1


def test_a_worker_that_dies_while_the_file_is_broken_comes_back_with_the_change_that_was_taken(tmp_path: Path) -> None:
    write_apps(tmp_path, ["default"])
    server = Server(tmp_path, "--workers", "1")
    try:
        file = tmp_path / config.FILE_NAME
        revoked = server.keys["default"]["moesif"]["application_id"]
        rotated = file.read_text().replace(revoked, KEY)
        file.write_text(rotated)
        answers(server, {KEY: 201, revoked: 401})
        file.write_text(rotated + "\n[[[")
        [_, killed] = server.parts("edge")
        os.kill(killed, signal.SIGKILL)

        def back() -> bool:
            if killed in server.parts("edge"):
                return False
            with contextlib.suppress(httpx.TransportError):
                return statuses(server, KEY) == {201}
            return False

        until(back, within_s=TAKEN_WITHIN_S)
        assert statuses(server, revoked) == {401}
    finally:
        assert server.stop() == 0
