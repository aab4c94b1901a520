"""A core that hangs: the log output tells, and when it answers again; no command waits for it."""

import http.client
import json
import logging
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from catchment.cli import patience
from catchment.cli.patience import NoSign, patiently
from catchment.silence import ASK_WITHIN_S, ASKS_MAX, TOLD_EVERY_S, SilenceWatch
from tests.conftest import Server, catchment, status, until

WITHIN_S = 60.0
STATUS_WITHIN_S = 35.0  # it takes some 4 s, or longer on a busy machine; it waited for 40 s and more
SQL_SECONDS_MAX = 120  # which commands waited for, and 10 s
CORE = 4711


class Core:
    """A core that is asked; `now` is how it goes about that: `answers`, `hangs` or is `refused`."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        self._caplog = caplog
        self.now = "answers"
        self.seconds = 0.0
        self.watch = SilenceWatch(self._asked, lambda: CORE, clock=lambda: self.seconds)

    def _asked(self, within_s: float) -> int:
        if self.now == "hangs":
            self.seconds += within_s
            raise TimeoutError
        if self.now == "refused":
            raise ConnectionRefusedError
        if self.now == "garbled":
            raise http.client.BadStatusLine("")
        return 200

    def look(self, now: str, times: int = 1) -> list[str]:
        """What was told in so many looks."""
        self._caplog.clear()
        self.now = now
        for _ in range(times):
            self.watch.look()
        return [record.getMessage() for record in self._caplog.records]


@pytest.fixture
def core(caplog: pytest.LogCaptureFixture) -> Core:
    return Core(caplog)


class TestWatch:
    def test_a_core_that_hangs_is_told_once_a_minute_with_its_process_and_what_to_do(self, core: Core) -> None:
        assert core.look("hangs", ASKS_MAX - 1) == []
        [told] = core.look("hangs")
        assert told.startswith(f"core: process {CORE} has not answered for {ASKS_MAX * ASK_WITHIN_S:.0f} s.")
        assert f"`kill -9 {CORE}`" in told
        assert core.look("hangs", int(TOLD_EVERY_S / ASK_WITHIN_S) - 1) == []
        assert len(core.look("hangs", 2)) == 1

    def test_it_is_told_once_when_it_answers_again(self, core: Core) -> None:
        core.look("hangs", ASKS_MAX)
        seconds = ASKS_MAX * ASK_WITHIN_S
        assert core.look("answers", 2) == [f"core: process {CORE} answers again, after {seconds:.0f} s"]
        assert len(core.look("hangs", ASKS_MAX)) == 1

    def test_one_ask_without_an_answer_is_no_silence(self, core: Core) -> None:
        for _ in range(5):
            assert core.look("hangs", ASKS_MAX - 1) == []
            assert core.look("answers") == []

    @pytest.mark.parametrize("now", ["refused", "garbled"])
    def test_a_core_that_is_starting_or_dead_is_not_silent(self, core: Core, now: str) -> None:
        assert core.look(now, 20) == []
        core.look("hangs", ASKS_MAX)
        assert core.look(now, 20) == []
        assert len(core.look("answers")) == 1  # what was told to be silent is told to be there

    def test_a_core_that_is_to_end_is_not_silent(self, core: Core) -> None:
        core.watch.stop()
        assert core.look("hangs", 20) == []


class TestPatience:
    def test_a_call_that_takes_long_is_waited_for_while_there_are_signs_of_life(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(patience, "LOOK_S", 0.01)
        done, signs = threading.Event(), iter([False, True, False, True, True])

        def is_alive() -> bool:
            alive = next(signs, None)
            if alive is None:
                done.set()
            return alive is not False

        assert patiently(lambda: done.wait(60), is_alive) is True

    def test_one_that_begins_to_hang_within_a_call_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(patience, "LOOK_S", 0.01)
        ended, signs = threading.Event(), iter([True, True, *[False] * patience.MISSES_MAX])
        with pytest.raises(NoSign):
            patiently(lambda: ended.wait(60), lambda: next(signs))
        ended.set()

    def test_what_a_call_raises_is_raised(self) -> None:
        with pytest.raises(ZeroDivisionError):
            patiently(lambda: 1 // 0, lambda: True)


def test_no_command_waits_for_a_core_that_hangs(tmp_path: Path) -> None:
    server = Server(
        tmp_path / "data", "--workers", "1", environment={"CATCHMENT_SQL__SECONDS_MAX": str(SQL_SECONDS_MAX)}
    )
    [core] = server.parts("core")
    os.kill(core, signal.SIGSTOP)
    try:
        for command in (["sql", "SELECT 1"], ["tail"], ["rejections"], ["backup", str(tmp_path / "backups")]):
            began = time.monotonic()
            told = catchment(
                *command,
                data_dir=server.data_dir,
                code=1,
                environment={"CATCHMENT_SQL__SECONDS_MAX": str(SQL_SECONDS_MAX)},
            )
            assert time.monotonic() - began < SQL_SECONDS_MAX / 2, command
            assert f"process {core}, is busy, or it hangs. If it stays so, end it with `kill -9`" in told
    finally:
        os.kill(core, signal.SIGCONT)
    assert server.stop() == 0


def test_a_core_that_hangs_is_told_of_and_left_alone_and_status_does_not_wait_for_it(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", "--workers", "1", output=tmp_path)
    told = tmp_path / "stderr"
    [core] = server.parts("core")
    os.kill(core, signal.SIGSTOP)
    try:
        began = time.monotonic()
        found = json.loads(status(server.data_dir, "--format", "json", code=1))
        assert time.monotonic() - began < STATUS_WITHIN_S
        assert f"process {core}, is busy, or it hangs" in found["unanswered"]
        assert found["room"]["short"] == ""
        assert found["not_accepting"] is None
        silent = f"WARNING core: process {core} has not answered for "
        until(lambda: silent in told.read_text(), within_s=WITHIN_S, otherwise=told.read_text)
    finally:
        os.kill(core, signal.SIGCONT)
    again = f"INFO core: process {core} answers again, after "
    until(lambda: again in told.read_text(), within_s=WITHIN_S, otherwise=told.read_text)
    assert server.parts("core") == [core]
    assert server.stop() == 0
    assert told.read_text().splitlines()[-1].endswith(" INFO stopped. Everything that was accepted is on the disk")
