"""Nothing lost, nothing double: clients post while the edge or the core is killed, again and again.

The argument is in docs/log.md. Every acknowledged event must be there once; one that was never acknowledged may be
there, once, as it was sent; nothing else may be there. A client that gets no answer sends again under the same id, as
real ones do.
"""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import Server, until, write_apps

CLIENTS = 6
KILLS = 8
SEED = 20261122


class Client(threading.Thread):
    """Posts numbered events, single and in batches, each until it is acknowledged or the test ends."""

    def __init__(self, number: int, server: Server, done: threading.Event) -> None:
        super().__init__(daemon=True)
        self.number = number
        self.server = server
        self.done = done
        self.acknowledged: set[str] = set()
        self.sent: set[str] = set()
        self.retries = 0

    def run(self) -> None:
        key = self.server.keys["default"]["moesif"]["application_id"]
        headers = {"X-Moesif-Application-Id": key}
        with httpx.Client(base_url=self.server.ingest, headers=headers, trust_env=False, timeout=30) as http:
            count = 0
            while not self.done.is_set():
                size = (1, 1, 1, 40)[count % 4]
                ids = [f"{self.number}-{count}-{index}" for index in range(size)]
                self.sent.update(ids)
                if self._post(http, ids):
                    self.acknowledged.update(ids)
                count += 1

    def _post(self, http: httpx.Client, ids: list[str]) -> bool:
        actions = [
            {"action_name": "A", "transaction_id": name, "user_id": f"u{self.number}", "request": {"uri": "https://x/"}}
            for name in ids
        ]
        while not self.done.is_set():
            try:
                answer = (
                    http.post("/v1/actions", json=actions[0])
                    if len(actions) == 1
                    else http.post("/v1/actions/batch", json=actions)
                )
            except httpx.HTTPError:
                self.retries += 1
                time.sleep(0.05)
                continue
            if answer.status_code == 201:
                return True
            assert answer.status_code in (500, 503), answer.text
            self.retries += 1
        return False


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    write_apps(tmp_path, ["default"])
    many = {"CATCHMENT_SQL__ROWS_MAX": "10000000"}  # nobody knows how much comes while the kills are waited for
    server = Server(tmp_path, "--workers", "2", environment=many)
    yield server
    server.stop()


def test_every_acknowledged_event_is_there_once_whatever_is_killed(own_server: Server) -> None:
    chance = random.Random(SEED)
    done = threading.Event()
    clients = [Client(number, own_server, done) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    for kill in range(KILLS):
        acknowledged = sum(len(client.acknowledged) for client in clients)
        until(
            lambda goal=acknowledged + 150: sum(len(client.acknowledged) for client in clients) > goal,  # type: ignore[misc]
            within_s=120,
            otherwise=lambda: "nothing was acknowledged any more",
        )
        time.sleep(chance.random() * 0.3)
        victims = own_server.parts(("edge", "core")[kill % 2])
        if victims:
            os.kill(chance.choice(victims), signal.SIGKILL)
    done.set()
    for client in clients:
        client.join(120)
    orphans = own_server.parts("edge") + own_server.parts("core")
    own_server.process.send_signal(signal.SIGKILL)  # and the supervisor itself
    own_server.process.wait()
    until(lambda: not any(map(_lives, orphans)), within_s=120, otherwise=lambda: "orphans live on")

    acknowledged_ids = set().union(*(client.acknowledged for client in clients))
    sent = set().union(*(client.sent for client in clients))
    own_server.http.close()
    own_server.api.close()
    until(lambda: _starts(own_server), within_s=180, otherwise=lambda: "the server did not start again")
    found: list[str] = []

    def all_there() -> bool:
        found[:] = [row["event_id"] for row in own_server.sql("SELECT event_id FROM events")]
        return acknowledged_ids <= set(found)

    until(all_there, within_s=120, otherwise=lambda: f"lost: {sorted(acknowledged_ids - set(found))[:10]}")
    assert len(found) == len(set(found)), "double"
    assert set(found) <= sent
    assert len(acknowledged_ids) > 1000
    assert any(client.retries for client in clients), "the kills were felt"
    until(lambda: own_server.api.get("/api/status").json()["lag"]["unread_bytes"] == 0, within_s=120)
    own_server.check_books()
    [books] = own_server.sql("SELECT sum(received) AS received, sum(stored) AS stored FROM ledger")
    assert books["received"] >= books["stored"] == len(found)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _starts(server: Server) -> bool:
    (server.data_dir / "run.json").unlink(missing_ok=True)
    try:
        server.start()
    except AssertionError:
        return False  # the orphans of the killed one still hold the ports or the folder
    return True
