"""Keeps a small data dir of the present version for later ones to be tested with: tests/released/VERSION.tar.xz.

    .venv/bin/python scripts/released_data_dir.py

To be run once for each release whose schema is a new one, before it is released; tests/test_upgrade.py starts every
later version on what it makes. A server gets a fixed set of calls, of every vendor, with repeats, refusals, a replay
and an `Idempotency-Key`. Then it is killed while its core stands still, so that a part of the log is not loaded.
Another one loads a copy of it all, and is asked the questions below; their answers are in the archive.
"""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil

from catchment import __version__

RELEASED = Path(__file__).parent.parent / "tests" / "released"
WITHIN_S = 60.0
TRANSIENT = ("run.json", "*.lock", "rates", "log/*/lock", "store/tmp/*", "store/status", "catchment.toml.sound")
SETTINGS = """
[console]
token = "console-token-of-a-released-version"

[privacy]
hash_key = "hash-key-of-a-released-version"

[apps.shop.moesif]
application_ids = ["moesif-application-id-of-a-released-version"]

[apps.shop.batch]
rest_api_keys = ["rest-api-key-of-a-released-version"]
live = ["LIVE0000000000000000000000000000"]

[apps.shop.moloco.platforms]
SHOP = ["moloco-key-of-a-released-version"]
"""
MOESIF = {"X-Moesif-Application-Id": "moesif-application-id-of-a-released-version"}
BATCH = {"X-Authorization": "rest-api-key-of-a-released-version"}
MOLOCO = {"x-api-key": "moloco-key-of-a-released-version"}
BATCH_PATH = "/1.0/LIVE0000000000000000000000000000/events/users/u-2"
MOLOCO_PATH = "/rmp/event/v1/platforms/SHOP/userevents"
TIME = "2026-03-02T10:00:00.000Z"
SIGNED_UP = {
    "action_name": "Signed Up",
    "transaction_id": "act-1",
    "user_id": "u-1",
    "company_id": "c-1",
    "session_token": "secret-1",
    "request": {"time": TIME, "uri": "https://acme.com/"},
    "metadata": {"plan": "free", "seats": 3, "nested": {"a": [1, None]}},
}
API_CALL = {
    "request": {"time": TIME, "uri": "https://api.acme.com/items/42", "verb": "GET", "headers": {"Cookie": "secret-2"}},
    "response": {"time": TIME, "status": 200, "headers": {}, "body": {"id": 42}},
    "user_id": "u-1",
    "transaction_id": "call-1",
}
KEYED = ("batch", BATCH_PATH, {"events": [{"name": "ue.kept_once"}]}, {"Idempotency-Key": "the-same-key"}, 201)
PURCHASE = {
    "id": "order-1",
    "event_type": "PURCHASE",
    "timestamp": "1772445600000",
    "channel_type": "SITE",
    "user_id": "u-3",
    "items": [{"id": "boots-9", "price": {"currency": "USD", "amount": 89.9}, "quantity": 1}],
    "revenue": {"currency": "USD", "amount": 89.9},
}
# Vendor, path, body, more headers, status of the answer.
LOADED: list[tuple[str, str, Any, dict[str, str], int]] = [
    ("moesif", "/v1/actions", SIGNED_UP, {}, 201),
    ("moesif", "/v1/actions", SIGNED_UP, {}, 201),
    ("moesif", "/v1/actions/batch", [SIGNED_UP | {"transaction_id": f"act-{n}"} for n in range(2, 30)], {}, 201),
    ("moesif", "/v1/events", API_CALL, {}, 201),
    ("moesif", "/v1/users", {"user_id": "u-1", "session_token": "secret-1", "metadata": {"plan": "pro"}}, {}, 201),
    ("moesif", "/v1/companies", {"company_id": "c-1", "metadata": {"size": 9}}, {}, 201),
    ("moesif", "/v1/subscriptions", {"subscription_id": "s-1", "company_id": "c-1", "status": "active"}, {}, 201),
    ("batch", BATCH_PATH, {"events": [{"name": "ue.left", "label": "shoes", "tags": ["sale"]}]}, {}, 201),
    KEYED,
    KEYED,
    ("moloco", MOLOCO_PATH, PURCHASE, {}, 200),
    ("moesif", "/v1/actions", SIGNED_UP | {"action_name": None, "transaction_id": "mended"}, {}, 400),
    ("moesif", "/v1/actions", {"action_name": 1, "request": {}}, {}, 400),
    ("batch", BATCH_PATH, {"events": [{"name": "left"}]}, {}, 400),
]
NOT_LOADED: list[tuple[str, str, Any, dict[str, str], int]] = [
    ("moesif", "/v1/actions", {"action_name": 2, "request": {}}, {}, 400),
    ("moesif", "/v1/users", {"user_id": "u-1", "metadata": {"seats": 5}}, {}, 201),
    ("batch", BATCH_PATH, {"events": [{"name": "ue.not_loaded"}]}, {}, 201),
    ("moloco", MOLOCO_PATH, PURCHASE | {"id": "order-2"}, {}, 200),
    ("moesif", "/v1/actions", SIGNED_UP | {"transaction_id": "not-loaded"}, {}, 201),
]
FIX = '.action_name = "Mended"'
QUESTIONS = [
    "SELECT app, source, kind, name, event_id, time, user_id, company_id, session_token, toString(properties) AS p,"
    " payload FROM events WHERE source != 'batch' ORDER BY source, event_id",
    "SELECT name, user_id, label, tags, request_token, event_id FROM events WHERE source = 'batch' ORDER BY name",
    "SELECT app, user_id, toString(profile) AS profile FROM users ORDER BY user_id",
    "SELECT app, company_id, toString(profile) AS profile FROM companies ORDER BY company_id",
    "SELECT app, subscription_id, toString(profile) AS profile FROM subscriptions ORDER BY subscription_id",
    "SELECT rejection_id, source, status, code, reason, path, method, route, payload FROM rejections"
    " ORDER BY rejection_id",
    "SELECT source, sum(received) AS received, sum(stored) AS stored, sum(duplicate) AS duplicate,"
    " sum(rejected) AS rejected, sum(abs(difference)) AS off FROM ledger GROUP BY source ORDER BY source",
]


class Server:
    """`catchment serve` on a data dir."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        command = [sys.executable, "-m", "catchment", "serve", "--data-dir", str(data_dir), "--workers", "1"]
        self.process = subprocess.Popen([*command, "--port", "0", "--console-port", "0"], stdout=subprocess.DEVNULL)
        until((data_dir / "run.json").exists)
        run = json.loads((data_dir / "run.json").read_text())
        self._ingest = httpx.Client(base_url=run["ingest"], trust_env=False)
        token = {"authorization": "Bearer console-token-of-a-released-version"}
        self._console = httpx.Client(base_url=run["console"], headers=token, trust_env=False, timeout=30)

    def send(self, calls: list[tuple[str, str, Any, dict[str, str], int]]) -> None:
        """Sends each, and fails where an answer is another one than wanted."""
        keys = {"moesif": MOESIF, "batch": BATCH, "moloco": MOLOCO}
        for vendor, path, body, headers, status in calls:
            answer = self._ingest.post(path, json=body, headers=keys[vendor] | headers)
            if answer.status_code != status:
                sys.exit(f"{path}: {answer.status_code} instead of {status}: {answer.text}")

    def sql(self, query: str) -> list[dict[str, Any]]:
        """The rows of an answer."""
        rows: list[dict[str, Any]] = (
            self._console.post("/api/sql", json={"query": query}).raise_for_status().json()["rows"]
        )
        return rows

    def settle(self, rejections: int) -> None:
        """Waits until all is loaded, refusals too, which nobody waits for when they are answered."""
        until(lambda: self.sql("SELECT count() AS n FROM rejections")[0]["n"] == rejections)
        until(lambda: self._console.get("/api/status").json()["lag"]["unread_bytes"] == 0)

    def parts(self, name: str) -> list[int]:
        """Process ids of a part and of those below it."""
        found = [pid for pid in children(self.process.pid) if name in command_line(pid)]
        return found + [below for pid in found for below in children(pid)]

    def kill(self) -> None:
        """Everything, at once and without order."""
        parts = self.parts("edge") + self.parts("core")
        self.process.kill()
        self.process.wait()
        for pid in parts:
            os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """In order."""
        self.process.terminate()
        self.process.wait(WITHIN_S)


def until(condition: Callable[[], bool]) -> None:
    """Waits for it."""
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        if time.monotonic() > deadline:
            sys.exit("it did not happen in time")
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    """Process ids of those that a process started."""
    return [child.pid for child in psutil.Process(pid).children()]


def command_line(pid: int) -> list[str]:
    """The program and its arguments."""
    return psutil.Process(pid).cmdline()


def make(data_dir: Path) -> None:
    """Fills the data dir."""
    data_dir.mkdir()
    (data_dir / "catchment.toml").write_text(SETTINGS.lstrip())
    server = Server(data_dir)
    server.send(LOADED)
    server.settle(rejections=3)
    [mended] = server.sql("SELECT rejection_id FROM rejections WHERE payload LIKE '%\"mended\"%'")
    command = [sys.executable, "-m", "catchment", "rejections", "replay", mended["rejection_id"], "--fix", FIX, "--yes"]
    subprocess.run([*command, "--data-dir", str(data_dir)], check=True, stdout=subprocess.DEVNULL)
    server.settle(rejections=3)
    [core] = server.parts("core")
    os.kill(core, signal.SIGSTOP)
    server.send(NOT_LOADED)
    server.kill()
    for pattern in TRANSIENT:
        for path in data_dir.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def answers(data_dir: Path) -> list[dict[str, Any]]:
    """What a server says that starts on it."""
    server = Server(data_dir)
    try:
        server.settle(rejections=4)
        return [{"sql": question, "rows": server.sql(question)} for question in QUESTIONS]
    finally:
        server.stop()


def main() -> None:
    """Makes the archive of this version."""
    target = RELEASED / f"{__version__}.tar.xz"
    if target.exists():
        sys.exit(f"{target} is there already; what was released does not change")
    with tempfile.TemporaryDirectory(prefix="catchment-released-") as name:
        data_dir = Path(name) / "data"
        make(data_dir)
        shutil.copytree(data_dir, Path(name) / "copy", symlinks=True)
        expected = json.dumps(answers(Path(name) / "copy"), indent=1).encode()
        with tarfile.open(target, "x:xz", preset=9) as archive:
            archive.add(data_dir, "data")
            member = tarfile.TarInfo("answers.json")
            member.size = len(expected)
            archive.addfile(member, io.BytesIO(expected))
    print(f"{target}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
