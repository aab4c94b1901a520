"""`make bench`: runs the program for real on loopback and prints what it does, with the machine's own limits beside it.

Load comes from wrk, on the same machine, so the figures are of what is left beside it. Machines are noisy: of every
figure with rounds the median is printed, with the range. Nothing is asserted.
"""

import json
import os
import platform
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from catchment.log.disk import LocalDisk

CONNECTIONS = 64
ROUNDS = 5
SECONDS = 4
SUSTAINED_SECONDS = 20
BATCH = 100
VISIBLE_SAMPLES = 100
BARE = Path(__file__).with_name("bare_server.py")
BARE_PORT = 18999


class Load(NamedTuple):
    """One run of wrk: requests per second and latency in milliseconds."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int


class Running:
    """A Catchment started for the benchmark in a folder of its own."""

    def __init__(self, folder: Path, workers: int) -> None:
        command = [sys.executable, "-m", "catchment", "serve", "--data-dir", str(folder), "--port", "0"]
        command += ["--console-port", "0", "--workers", str(workers)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while not (folder / "run.json").exists():
            if self.process.poll() is not None:
                sys.exit("the server did not start")
            time.sleep(0.1)
        run = json.loads((folder / "run.json").read_text())
        keys = subprocess.run(
            [sys.executable, "-m", "catchment", "keys", "--format", "json", "--data-dir", str(folder)],
            capture_output=True,
            check=True,
        )
        [app] = json.loads(keys.stdout)
        self.ingest: str = run["ingest"]
        self.key: str = app["moesif"]["application_id"]
        self.api = httpx.Client(
            base_url=run["console"],
            headers={"authorization": f"Bearer {run['secret']}"},
            timeout=60,
            trust_env=False,
        )

    def sql(self, query: str) -> list[dict[str, Any]]:
        """The rows of an answer."""
        answer = self.api.post("/api/sql", json={"query": query})
        answer.raise_for_status()
        rows: list[dict[str, Any]] = answer.json()["rows"]
        return rows

    def memory_mb(self) -> dict[str, float]:
        """Resident memory of each part with its children."""
        listing = subprocess.run(["ps", "-eo", "pid=,ppid=,rss=,args="], capture_output=True, text=True).stdout
        processes = [line.split(None, 3) for line in listing.splitlines()]
        below = {str(self.process.pid)}
        for pid, parent, _, _ in sorted(processes, key=lambda process: int(process[0])):
            if parent in below:
                below.add(pid)
        sizes = {"edge": 0.0, "core": 0.0}
        for pid, _, rss, arguments in processes:
            for part in sizes:
                if pid in below and f"catchment {part} " in arguments:
                    sizes[part] += int(rss) / 1024
        return sizes

    def stop(self) -> None:
        """In order."""
        self.api.close()
        self.process.terminate()
        self.process.wait(90)


def action(number: int) -> dict[str, Any]:
    """The vendor's own example of an action, with an id and a user of its own: about 470 bytes."""
    return {
        "action_name": "Clicked Sign Up",
        "user_id": f"user-{number % 5000}",
        "company_id": "67890",
        "request": {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S.123Z", time.gmtime()),
            "uri": "https://acmeinc.com/pricing",
            "user_agent_string": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/70.0.3538.77 Safari/537.36",
        },
        "metadata": {"button_label": "Get Started", "sign_up_method": "Google SSO"},
    }


def wrk(url: str, path: str, key: str, bodies: list[bytes], *, seconds: int, folder: Path) -> Load:
    """Posts the bodies in turn over all connections."""
    script = folder / "load.lua"
    quoted = ",\n".join("[==[" + body.decode() + "]==]" for body in bodies)
    script.write_text(
        f"""wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["X-Moesif-Application-Id"] = "{key}"
local bodies = {{{quoted}}}
local requests, next_one = {{}}, 0
init = function() for i, body in ipairs(bodies) do requests[i] = wrk.format(nil, "{path}", nil, body) end end
request = function() next_one = next_one % #requests + 1 return requests[next_one] end
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format("RESULT %f %f %f %d\\n", summary.requests / (summary.duration / 1e6),
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""
    )
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script), url]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"RESULT (\S+) (\S+) (\S+) (\d+)", printed)
    if found is None:
        sys.exit(f"wrk did not report: {printed}")
    return Load(float(found[1]), float(found[2]), float(found[3]), int(found[4]))


def rounds(measure: Callable[[], Load]) -> list[Load]:
    """A warm-up and then the rounds that count."""
    measure()
    return [measure() for _ in range(ROUNDS)]


def spread(values: list[float], unit: str) -> str:
    """Median and range."""
    return f"{statistics.median(values):>12,.1f} {unit:<10} ({min(values):,.1f} to {max(values):,.1f})"


def fdatasync_ms(folder: Path) -> list[float]:
    """How long the disk takes to make 20 kB durable: 200 samples."""
    disk = LocalDisk()
    file = disk.create(folder / "sync")
    samples = []
    for _ in range(200):
        file.append(b"x" * 20_000)
        started = time.perf_counter()
        file.sync()
        samples.append((time.perf_counter() - started) * 1000)
    file.close()
    return samples


def visible_ms(server: Running) -> list[float]:
    """From posting an event to finding it with SQL, one at a time."""
    samples = []
    with httpx.Client(base_url=server.ingest, trust_env=False) as http:
        for number in range(VISIBLE_SAMPLES):
            user = f"visible-{number}"
            started = time.perf_counter()
            answer = http.post(
                "/v1/actions",
                json={"action_name": "V", "user_id": user, "request": {}},
                headers={"X-Moesif-Application-Id": server.key},
            )
            answer.raise_for_status()
            while not server.sql(f"SELECT 1 FROM event_rows WHERE user_id = '{user}' AND name = 'V'"):
                pass
            samples.append((time.perf_counter() - started) * 1000)
            time.sleep(random.random() * 0.3)  # or each post would just miss the insert that showed the one before
    return samples


def sustained(server: Running, bodies: list[bytes], folder: Path) -> tuple[float, float]:
    """Events per second from the first post until the last one is visible, and the seconds of that spent behind."""
    before = int(server.sql("SELECT count() AS n FROM event_rows")[0]["n"])
    started = time.perf_counter()
    load = wrk(server.ingest, "/v1/actions/batch", server.key, bodies, seconds=SUSTAINED_SECONDS, folder=folder)
    posted = time.perf_counter()
    sent = round(load.requests_per_s * SUSTAINED_SECONDS) * BATCH
    count, last = 0, -1
    while count != last:  # until nothing more comes; what wrk had under way at its end may be more than it counted
        last = count
        time.sleep(1.0)
        count = int(server.sql("SELECT count() AS n FROM event_rows")[0]["n"]) - before
    visible = time.perf_counter() - 1.0
    if count < sent - CONNECTIONS * BATCH:
        sys.exit(f"lost: {sent} acknowledged, {count} found")
    return count / (visible - started), visible - posted


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of them do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def report(folder: Path, workers: int) -> None:
    """Everything, in the order of the page in docs/benchmarks.md."""
    syncs = fdatasync_ms(folder)
    print(f"machine      {platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    print(f"fdatasync    p50 {percentile(syncs, 0.5):.2f} ms, p99 {percentile(syncs, 0.99):.2f} ms for 20 kB")
    print(f"edge workers {workers}; {CONNECTIONS} connections; wrk on the same machine\n")
    single = [json.dumps(action(number)).encode() for number in range(1000)]
    batches = [json.dumps([action(start + n) for n in range(BATCH)]).encode() for start in range(0, 2000, BATCH)]
    bare = subprocess.Popen([sys.executable, str(BARE), str(BARE_PORT), str(workers)], stdout=subprocess.DEVNULL)
    try:
        time.sleep(2)
        bare_url = f"http://127.0.0.1:{BARE_PORT}"
        base = rounds(lambda: wrk(bare_url, "/v1/actions", "x", single, seconds=SECONDS, folder=folder))
    finally:
        bare.terminate()
        bare.wait()
    print(f"bare server  {spread([load.requests_per_s for load in base], 'req/s')}")
    server = Running(folder / "data", workers)
    try:
        samples = visible_ms(server)
        print(
            f"to visible   p50 {percentile(samples, 0.5):.0f} ms, p99 {percentile(samples, 0.99):.0f} ms, one at a time"
        )
        found = rounds(lambda: wrk(server.ingest, "/v1/actions", server.key, single, seconds=SECONDS, folder=folder))
        show("single", found, 1)
        ratio = statistics.median(x.requests_per_s for x in found) / statistics.median(x.requests_per_s for x in base)
        print(f"  to bare    {ratio:>12.2f}")
        url, path = server.ingest, "/v1/actions/batch"
        show("batch 100", rounds(lambda: wrk(url, path, server.key, batches, seconds=SECONDS, folder=folder)), BATCH)
        rate, behind = sustained(server, batches, folder)
        print(
            f"to SQL       {rate:>12,.1f} events/s   for {SUSTAINED_SECONDS} s, the last visible {behind:.1f} s later"
        )
        memory = server.memory_mb()
        print(f"memory       edge {memory['edge']:.0f} MB (with its parent), core {memory['core']:.0f} MB")
    finally:
        server.stop()


def show(name: str, loads: list[Load], events: int) -> None:
    """Rate and latency of some rounds."""
    print(f"{name:<12} {spread([load.requests_per_s * events for load in loads], 'events/s')}")
    print(f"  p99        {spread([load.p99_ms for load in loads], 'ms')}")
    if errors := sum(load.errors for load in loads):
        print(f"  errors     {errors:>12}")


def main() -> None:
    """`run.py [WORKERS]`"""
    if shutil.which("wrk") is None:
        sys.exit("make bench needs wrk: apt-get install wrk, or brew install wrk")
    workers = int(sys.argv[1]) if len(sys.argv) > 1 else max(1, (os.cpu_count() or 1) // 2)
    with tempfile.TemporaryDirectory(prefix="catchment-bench-") as name:
        report(Path(name), workers)


if __name__ == "__main__":
    main()
