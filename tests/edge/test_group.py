"""A group of edge processes takes another certificate: what may happen in the middle of it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import trustme

from tests.conftest import until
from tests.edge.group import KILLED_AFTER_S
from tests.ports import free_port
from tests.security.test_tls import any_certificate

WITHIN_S = 60.0  # less than held requests may take, so that nobody can have waited for them
HELD_S_MAX = 2.0 * KILLED_AFTER_S
WORKERS = 2
CONNECTIONS = 16  # which reach all processes


class Group:
    """A running group, see `tests.edge.group`."""

    def __init__(self, folder: Path) -> None:
        made = trustme.CA().issue_cert("127.0.0.1")
        cert, key = folder / "cert.pem", folder / "key.pem"
        made.cert_chain_pems[0].write_to_path(str(cert))
        made.private_key_pem.write_to_path(str(key))
        self._port = free_port()
        self.folder = folder
        given = [str(self._port), str(WORKERS), str(cert), str(key), str(folder)]
        with (folder / "output").open("wb") as output:
            self.process = subprocess.Popen([sys.executable, "-m", "tests.edge.group", *given], stderr=output)
        self._threads = ThreadPoolExecutor(CONNECTIONS)
        until(lambda: len(self.answering()) == WORKERS, within_s=WITHIN_S)

    def ask(self, path: str = "/") -> int:
        """Which process answers, over a connection of its own."""
        with httpx.Client(verify=any_certificate(), trust_env=False, timeout=HELD_S_MAX) as client:
            answer = client.get(f"https://127.0.0.1:{self._port}{path}")
        assert answer.status_code == 200
        return int(answer.text)

    def answering(self) -> set[int]:
        """The processes that answer now."""
        with suppress(httpx.TransportError):
            return {self.ask() for _ in range(CONNECTIONS)}
        return set()

    def hold(self) -> list[Future[int]]:
        """Requests that have no answer before `let_go`, and have arrived; of each process, so probably."""
        return [self._threads.submit(self.ask, "/held") for _ in range(CONNECTIONS)]

    def let_go(self) -> None:
        (self.folder / "go").touch()

    def renew(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def told(self, words: str) -> int:
        return (self.folder / "output").read_text().count(words)

    def end(self) -> None:
        self.let_go()
        self._threads.shutdown()
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(2 * KILLED_AFTER_S)


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    running = Group(tmp_path)
    yield running
    running.end()


def alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


class TestRenewal:
    def test_all_are_replaced_and_what_was_under_way_is_answered(self, group: Group) -> None:
        old = group.answering()
        held = group.hold()
        until(lambda: group.told("HELD") == CONNECTIONS, within_s=WITHIN_S)
        group.renew()
        until(lambda: len(group.answering()) == WORKERS and not group.answering() & old, within_s=WITHIN_S)
        group.let_go()
        assert {one.result(WITHIN_S) for one in held} <= old
        until(lambda: not any(map(alive, old)), within_s=WITHIN_S)
        assert not group.told("Traceback")

    def test_a_stop_meanwhile_does_not_wait_for_the_old_ones_before_it_tells_the_new(self, group: Group) -> None:
        old = group.answering()
        held = group.hold()
        until(lambda: group.told("HELD") == CONNECTIONS, within_s=WITHIN_S)
        group.renew()
        until(lambda: bool(group.told("serves another certificate")), within_s=WITHIN_S)
        new = group.answering()
        assert not new & old
        group.process.terminate()
        until(lambda: not any(map(alive, new)), within_s=WITHIN_S)
        assert any(map(alive, old))
        group.let_go()
        assert {one.result(WITHIN_S) for one in held} <= old
        assert group.process.wait(WITHIN_S) == 0

    def test_new_ones_that_die_at_once_replace_nobody_and_are_tried_again(self, group: Group) -> None:
        old = group.answering()
        (group.folder / "die").touch()
        group.renew()
        until(lambda: bool(group.told("those before stay")), within_s=WITHIN_S)
        assert group.answering() == old
        (group.folder / "die").unlink()
        until(lambda: len(group.answering()) == WORKERS and not group.answering() & old, within_s=WITHIN_S)

    def test_a_new_one_that_dies_while_old_ones_still_answer_is_replaced(self, group: Group) -> None:
        old = group.answering()
        group.hold()
        until(lambda: group.told("HELD") == CONNECTIONS, within_s=WITHIN_S)
        group.renew()
        until(lambda: bool(group.told("serves another certificate")), within_s=WITHIN_S)
        new = group.answering()
        killed = min(new)
        os.kill(killed, signal.SIGKILL)
        until(lambda: len(group.answering() - old - {killed}) == WORKERS, within_s=WITHIN_S)
        assert any(map(alive, old))


class TestStarting:
    def test_a_stop_does_not_wait_for_a_process_that_is_just_starting(self, group: Group) -> None:
        (group.folder / "wait").touch()
        os.kill(min(group.answering()), signal.SIGKILL)
        until((group.folder / "waiting").exists, within_s=WITHIN_S)
        group.process.terminate()
        assert group.process.wait(WITHIN_S) == 0


class TestNoRoomForAnotherProcess:
    def test_one_that_died_is_replaced_once_there_is_room_and_the_others_go_on(self, group: Group) -> None:
        before = group.answering()
        killed = min(before)
        (group.folder / "full").touch()
        os.kill(killed, signal.SIGKILL)
        until(lambda: bool(group.told("no new process can be started now")), within_s=WITHIN_S)
        assert all(map(alive, before - {killed}))
        (group.folder / "full").unlink()
        until(lambda: len(group.answering() - {killed}) == WORKERS, within_s=WITHIN_S)
        assert not group.told("Traceback")

    def test_a_stop_meanwhile_is_one_in_order(self, group: Group) -> None:
        (group.folder / "full").touch()
        os.kill(min(group.answering()), signal.SIGKILL)
        until(lambda: bool(group.told("no new process can be started now")), within_s=WITHIN_S)
        group.process.terminate()
        assert group.process.wait(WITHIN_S) == 0

    def test_a_renewal_is_tried_again(self, group: Group) -> None:
        old = group.answering()
        (group.folder / "full").touch()
        group.renew()
        until(lambda: bool(group.told("those before stay")), within_s=WITHIN_S)
        assert group.answering() == old
        (group.folder / "full").unlink()
        until(lambda: len(group.answering()) == WORKERS and not group.answering() & old, within_s=WITHIN_S)
