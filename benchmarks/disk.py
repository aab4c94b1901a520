"""How many bytes of disk an event takes, in the log and in the store: what docs/deploy.md reckons with.

    .venv/bin/python benchmarks/disk.py [EVENTS]

Two kinds, each into a server and a folder of its own, 200 000 by default: the action of `run.py`, a small event; and a
captured API call with headers and bodies of about 3 kB, filled with words and numbers by chance. The store is measured
once merging has ended.
"""

import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from run import Running, action

BATCH = 200
EVENTS = 200_000
CALM_S = 10.0
WITHIN_S = 600.0
WORDS = [f"{start}{end}" for start in ("ba", "du", "ki", "lo", "me", "pra", "sto") for end in ("ra", "nu", "sti", "v")]
chance = random.Random(20261122)  # the same events in each run


def api_call(number: int) -> dict[str, Any]:
    """A captured call of a shop's API, about 3 kB."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%S.123Z", time.gmtime())
    items = [
        {
            "sku": f"sku-{chance.randrange(5000)}",
            "title": " ".join(chance.choices(WORDS, k=8)),
            "price": chance.random(),
        }
        for _ in range(14)
    ]
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {chance.getrandbits(256):x}"}
    return {
        "request": {
            "time": moment,
            "uri": f"https://api.acme.com/carts/{chance.randrange(100_000)}/items?page={number % 9}",
            "verb": "POST",
            "headers": headers | {"User-Agent": f"acme-app/{number % 7}.{number % 31}", "Accept": "application/json"},
            "body": {"items": items[:4]},
            "ip_address": f"198.51.{chance.randrange(256)}.{chance.randrange(256)}",
        },
        "response": {
            "time": moment,
            "status": 200,
            "headers": {"Content-Type": "application/json", "X-Request-Id": f"{chance.getrandbits(128):x}"},
            "body": {"items": items, "total": chance.random()},
        },
        "user_id": f"user-{number % 5000}",
        "company_id": f"company-{number % 100}",
        "transaction_id": f"{chance.getrandbits(128):032x}",
    }


def measure(name: str, path: str, make: Callable[[int], dict[str, Any]], events: int, folder: Path) -> None:
    """Sends so many, and prints what each took."""
    os.environ["CATCHMENT_LOG__KEEP_LOADED_HOURS"] = "24"  # else the log is gone when it is measured
    server = Running(folder, 1)
    try:
        sent = 0
        with httpx.Client(base_url=server.ingest, trust_env=False, timeout=60) as http:
            for first in range(0, events, BATCH):
                body = json.dumps([make(number) for number in range(first, first + BATCH)]).encode()
                answer = http.post(path, content=body, headers={"X-Moesif-Application-Id": server.key})
                answer.raise_for_status()
                sent += len(body)
        log, store = settled(server, events)
        sizes = (f"{size / events:>8,.0f} {where}" for size, where in ((sent, "sent"), (log, "log"), (store, "store")))
        print(f"{name:<10}", *sizes, flush=True)
    finally:
        server.stop()


def settled(server: Running, events: int) -> tuple[int, int]:
    """Bytes of the log, and those of the store's tables when all is loaded, and merging has changed nothing for a
    while. The parts that were merged are not counted: they are removed some minutes later."""
    deadline = time.monotonic() + WITHIN_S
    while int(server.sql("SELECT count() AS n FROM event_rows")[0]["n"]) < events:
        if time.monotonic() > deadline:
            sys.exit("not all was loaded in time")
        time.sleep(0.5)
    size, since = (0, 0), time.monotonic()
    while time.monotonic() - since < CALM_S and time.monotonic() < deadline:
        disk = server.api.get("/api/status").json()["disk"]
        now = (disk["log_bytes"], sum(table["bytes"] for table in disk["tables"]))
        if now != size:
            size, since = now, time.monotonic()
        time.sleep(0.5)
    return size


def main() -> None:
    """`disk.py [EVENTS]`"""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS
    print("bytes an event")
    for name, path, make in (("actions", "/v1/actions/batch", action), ("API calls", "/v1/events/batch", api_call)):
        with tempfile.TemporaryDirectory(prefix="catchment-disk-") as folder:
            measure(name, path, make, events, Path(folder))


if __name__ == "__main__":
    main()
