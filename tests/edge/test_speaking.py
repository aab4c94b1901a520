"""Of the processes that find the same, one tells it, and another when that one has ended."""

import logging
from pathlib import Path

import pytest

from catchment.edge.speaking import Speaker
from catchment.log.disk import LocalDisk
from catchment.log.room import RoomWatch
from tests.log.test_room import LIMITS, TightDisk


class Ending(LocalDisk):
    """The disk of a process that ends."""

    def end(self) -> None:
        self.unlock(self.lock)

    def try_lock(self, path: Path) -> int | None:
        lock = super().try_lock(path)
        self.lock = -1 if lock is None else lock
        return lock


class TestSpeaker:
    def test_one_speaks_until_it_ends_and_then_another_begins(self, tmp_path: Path) -> None:
        begun: list[str] = []
        disk, lock = Ending(), tmp_path / "reload.lock"
        first = Speaker(disk, lock, lambda: begun.append("first"))
        second = Speaker(LocalDisk(), lock, lambda: begun.append("second"))
        for _ in range(3):
            assert first()
            assert not second()
        assert begun == ["first"]
        disk.end()
        assert second()
        assert second()
        assert begun == ["first", "second"]

    def test_a_lock_that_cannot_be_looked_at_is_no_reason_to_fail(self, tmp_path: Path) -> None:
        speaks = Speaker(LocalDisk(), tmp_path / "away" / "reload.lock", lambda: None)
        assert not speaks()
        (tmp_path / "away").mkdir()
        assert speaks()

    def test_whoever_watches_the_room_tries_at_each_look(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        ending, lock, disk, begun = Ending(), tmp_path / "reload.lock", TightDisk(), list[str]()
        assert Speaker(ending, lock, lambda: None)()
        watch = RoomWatch(disk, tmp_path, LIMITS, speaks=Speaker(LocalDisk(), lock, lambda: begun.append("begun")))
        disk.free = 500
        watch.look()
        assert (watch.short, caplog.messages) == ("disk_nearly_full", [])
        ending.end()
        watch.look()
        assert begun == ["begun"]
        disk.free = 2000
        with caplog.at_level(logging.WARNING):
            watch.look()
        assert caplog.messages == ["log: there is room again: everything is accepted as before"]
