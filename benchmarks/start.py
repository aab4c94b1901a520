"""How long until the first request is answered: after a start, and after everything was killed, with an empty log and
with a large one of which nothing was loaded.

    .venv/bin/python benchmarks/start.py [GIGABYTES] [ROUNDS]

It writes the log with the project's own writer into a temporary folder (10 GB by default), and removes it.
"""

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import psutil
from msgspec import Raw

from catchment import config
from catchment.log.disk import LocalDisk
from catchment.log.folder import Folder
from catchment.record import EventRecord, encode_lines
from catchment.settings import Log

GROUP_BYTES = 16_000_000
WITHIN_S = 60.0
AIM_S = 2.0


def write_log(data_dir: Path, gigabytes: float) -> int:
    """Segments as an edge process leaves them; their bytes."""
    folder = Folder(LocalDisk(), data_dir / "log", Log())
    written = 0
    while written < gigabytes * 1e9:
        lines = encode_lines([record(written + number) for number in range(500)])
        group = lines * (GROUP_BYTES // len(lines))
        folder.commit([group])
        written += len(group)
    folder.close()
    return written


def record(number: int) -> EventRecord:
    """An action of an ordinary size."""
    body = {"action_name": "Clicked", "user_id": f"u-{number}", "request": {"uri": "https://acmeinc.com/pricing"}}
    return EventRecord(
        app="default",
        source="moesif",
        kind="action",
        event_id=f"event-{number}",
        received_us=1_772_445_600_000_000 + number,
        payload=Raw(json.dumps(body | {"metadata": {"button": "x" * 150}}).encode()),
        name="Clicked",
        time=datetime(2026, 3, 2, 10, tzinfo=UTC),
        user_id=f"u-{number}",
        undated=True,
    )


class Start:
    """`catchment serve`, from its beginning to its first answer."""

    def __init__(self, data_dir: Path) -> None:
        settings = tomllib.loads((data_dir / config.FILE_NAME).read_text())
        self._key = settings["apps"]["default"]["moesif"]["application_ids"][0]
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        command = [sys.executable, "-m", "catchment", "serve", "--data-dir", str(data_dir), "--port", str(self._port)]
        (data_dir / "run.json").unlink(missing_ok=True)
        self._began = time.monotonic()
        self._process = subprocess.Popen([*command, "--console-port", "0"], stdout=subprocess.DEVNULL)
        self.first_answer_s = self._until(self._taken)
        self.ready_s = self._until((data_dir / "run.json").exists)

    def _until(self, condition: Callable[[], bool]) -> float:
        while not condition():
            if time.monotonic() - self._began > WITHIN_S or self._process.poll() is not None:
                sys.exit("the server did not start")
            time.sleep(0.005)
        return time.monotonic() - self._began

    def _taken(self) -> bool:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/v1/actions",
            data=b'{"action_name": "First", "request": {}}',
            headers={"X-Moesif-Application-Id": self._key},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return bool(answer.status == 201)
        except OSError:
            return False

    def kill(self) -> None:
        """Everything, the supervisor first, which would start the others again."""
        parts = below(self._process.pid)
        self._process.kill()
        self._process.wait()
        for pid in parts:
            os.kill(pid, signal.SIGKILL)
        while any(psutil.pid_exists(pid) for pid in parts):
            time.sleep(0.01)


def below(pid: int) -> list[int]:
    """All processes that a process started, and those that they started."""
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def held(data_dir: Path) -> float:
    """Gigabytes that the log has."""
    return sum(path.stat().st_size for path in (data_dir / "log").rglob("*.ndjson")) / 1e9


def rounds(data_dir: Path, count: int) -> None:
    """Starts, is killed, and starts again."""
    first, ready = [], []
    for number in range(count):
        before = held(data_dir)
        start = Start(data_dir)
        start.kill()
        first.append(start.first_answer_s)
        ready.append(start.ready_s)
        after = "a crash" if number else "nothing"
        print(f"  after {after:<8} {before:5.1f} GB: first 201 {first[-1]:.2f} s, both parts ready {ready[-1]:.2f} s")
    print(f"  first 201: median {statistics.median(first):.2f} s, worst {max(first):.2f} s; the aim is {AIM_S:.0f} s")


def main() -> None:
    """`start.py [GIGABYTES] [ROUNDS]`"""
    gigabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    with tempfile.TemporaryDirectory(prefix="catchment-start-") as name:
        data_dir = Path(name)
        config.ensure_file(data_dir)
        print("an empty log")
        rounds(data_dir, count)
        began = time.monotonic()
        written = write_log(data_dir, gigabytes)
        print(f"{written / 1e9:.1f} GB written in {time.monotonic() - began:.0f} s; of that nothing is loaded")
        rounds(data_dir, count)


if __name__ == "__main__":
    main()
