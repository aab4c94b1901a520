"""The second half of `make bench`: ten times and more of what the edge can take, and catching up beside it.

Goodput is what was accepted; refusals are not in it. wrk comes again at once, whatever Retry-After says, so its
connections are the load that is offered.
"""

import json
import os
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

from catchment import config
from catchment.edge import memory
from run import CONNECTIONS, Running, action

SECONDS = 5
ROUNDS = 3
SINGLE, BATCH = "/v1/actions", "/v1/actions/batch"
LARGE_ELEMENTS = 28_000  # 10 MiB
BACKLOG_BYTES = 700_000_000
CATCHING_UP_S = 7


class Flood(NamedTuple):
    """What came of some seconds of load: accepted calls a second, the share of calls that were refused, and the most
    memory of the edge process in MB."""

    good_per_s: float
    refused: float
    memory_mb: float


class Edge:
    """The one edge process of a server."""

    def __init__(self, server: Running) -> None:
        listing = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True).stdout
        rows = [line.split(None, 2) for line in listing.splitlines()]
        below = {pid: arguments for pid, parent, arguments in rows if parent == str(server.process.pid)}
        [group] = [pid for pid, arguments in below.items() if " edge " in arguments]
        self.core = [int(pid) for pid, arguments in below.items() if " core " in arguments]
        self._pid = [pid for pid, parent, arguments in rows if parent == group and "catchment" in arguments][-1]

    def peak_mb(self) -> float:
        """The most memory since `forget_peak`."""
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{self._pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0

    def forget_peak(self) -> None:
        """Begins anew to look for it."""
        Path(f"/proc/{self._pid}/clear_refs").write_text("5")


def flood(
    server: Running,
    edge: Edge,
    path: str,
    bodies: list[bytes],
    connections: int,
    folder: Path,
    *,
    rest_ms: int = 0,
    seconds: int = SECONDS,
) -> Flood:
    """wrk with so many connections, each of which rests so long before it sends again."""
    script = folder / "flood.lua"
    quoted = ",\n".join("[==[" + body.decode() + "]==]" for body in bodies)
    script.write_text(
        f"""wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["X-Moesif-Application-Id"] = "{server.key}"
local bodies = {{{quoted}}}
local requests, next_one = {{}}, 0
init = function() for i, body in ipairs(bodies) do requests[i] = wrk.format(nil, "{path}", nil, body) end end
request = function() next_one = next_one % #requests + 1 return requests[next_one] end
{f"delay = function() return {rest_ms} end" if rest_ms else ""}
done = function(summary)
  io.write(string.format("RESULT %f %d %d\\n", summary.duration / 1e6, summary.requests, summary.errors.status))
end
"""
    )
    edge.forget_peak()
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script), server.ingest]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"RESULT (\S+) (\d+) (\d+)", printed)
    if found is None:
        sys.exit(f"wrk did not report: {printed}")
    took_s, calls, refused = float(found[1]), int(found[2]), int(found[3])
    return Flood((calls - refused) / took_s, refused / max(calls, 1), edge.peak_mb())


def compare(server: Running, edge: Edge, folder: Path, *, path: str, bodies: list[bytes], loads: list[int]) -> None:
    """The first load is the best, the others are more; in turn, for a machine's mood changes. Medians."""
    found: dict[int, list[Flood]] = {connections: [] for connections in loads}
    for _ in range(ROUNDS):
        for connections in loads:
            found[connections].append(flood(server, edge, path, bodies, connections, folder))
    best = found[loads[0]]
    for connections in loads:
        floods = found[connections]
        ratios = [one.good_per_s / max(other.good_per_s, 0.01) for one, other in zip(floods, best, strict=True)]
        per_s = statistics.median(one.good_per_s for one in floods)
        refused = statistics.median(one.refused for one in floods)
        peak = max(one.memory_mb for one in floods)
        print(
            f"{connections:>6} connections {per_s:>10,.1f} accepted/s, {refused:>4.0%} refused, to best"
            f" {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), at most {peak:.0f} MB"
        )


def overload(server: Running, edge: Edge, folder: Path) -> None:
    """The best, then more, then whether it is as before."""
    singles = [json.dumps(action(number)).encode() for number in range(1000)]
    large = [json.dumps([action(number) for number in range(LARGE_ELEMENTS)]).encode()]
    flood(server, edge, SINGLE, singles, CONNECTIONS, folder)
    print("single actions")
    compare(server, edge, folder, path=SINGLE, bodies=singles, loads=[CONNECTIONS, CONNECTIONS * 10, CONNECTIONS * 30])
    print(f"actions in batches of {LARGE_ELEMENTS}, {len(large[0]) / 2**20:.0f} MiB")
    compare(server, edge, folder, path=BATCH, bodies=large, loads=[4, 64])
    while unread_bytes(server) > 1_000_000:
        time.sleep(0.5)
    print("single actions afterwards")
    compare(server, edge, folder, path=SINGLE, bodies=singles, loads=[CONNECTIONS])


def unread_bytes(server: Running) -> int:
    """What waits to be loaded."""
    return int(server.api.get("/api/status").json()["lag"]["unread_bytes"])


def loaded_bytes(server: Running) -> int:
    """What was loaded since the core started."""
    return int(server.api.get("/api/status").json()["loader"]["bytes"])


def log_bytes(folder: Path) -> int:
    """What the log's segments take."""
    return sum(file.stat().st_size for file in (folder / "data" / "log").rglob("*.ndjson"))


def catching_up(server: Running, edge: Edge, folder: Path) -> None:
    """How fast a backlog is loaded while events go on to come."""
    singles = [json.dumps(action(number)).encode() for number in range(1000)]
    batches = [json.dumps([action(start + n) for n in range(100)]).encode() for start in range(0, 2000, 100)]
    calm = [("batches, 5 000 events/s", BATCH, batches, 10, 200), ("batches, 10 000", BATCH, batches, 10, 100)]
    calm += [("batches, 20 000", BATCH, batches, 10, 50), ("batches, 30 000", BATCH, batches, 15, 50)]
    all_out = [("single, all it takes", SINGLE, singles, 64, 0), ("batches, all it takes", BATCH, batches, 64, 0)]
    for name, path, bodies, connections, rest_ms in calm + all_out:
        loaded_before, log_before = loaded_bytes(server), log_bytes(folder)
        for pid in edge.core:
            os.kill(pid, signal.SIGSTOP)
        while log_bytes(folder) - log_before < BACKLOG_BYTES:
            flood(server, edge, BATCH, batches, 16, folder, seconds=2)
        backlog = log_bytes(folder) - log_before
        for pid in edge.core:
            os.kill(pid, signal.SIGCONT)
        how = {"rest_ms": rest_ms, "seconds": CATCHING_UP_S}
        load = threading.Thread(target=flood, args=(server, edge, path, bodies, connections, folder), kwargs=how)
        load.start()
        time.sleep(1)
        begin_s, begin = time.monotonic(), loaded_bytes(server)
        time.sleep(CATCHING_UP_S - 2)
        rate = (loaded_bytes(server) - begin) / (time.monotonic() - begin_s)
        load.join()
        while unread_bytes(server) > 1_000_000:
            time.sleep(0.5)
        came = (loaded_bytes(server) - loaded_before - backlog) / CATCHING_UP_S
        print(f"catching up, {name:<24} {came / 1e6:5.1f} MB/s come, {rate / 1e6:5.1f} are loaded: {rate / came:.1f}")


def main() -> None:
    """`overload.py`"""
    if shutil.which("wrk") is None or sys.platform != "linux":
        sys.exit("this half of make bench needs wrk, and Linux, which tells memory and processor time of a process")
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(files, min(most, 20_000)), most))
    with tempfile.TemporaryDirectory(prefix="catchment-bench-") as name:
        folder = Path(name)
        server = Running(folder / "data", 1)
        try:
            print(f"bound        {memory.bytes_max(config.load(folder / 'data')) / 1e6:.0f} MB for the edge process")
            edge = Edge(server)
            overload(server, edge, folder)
            catching_up(server, edge, folder)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
