"""An edge process that hangs is killed, and nothing else is."""

import os
import signal
from pathlib import Path

import httpx

from catchment.hanging import LOOKS_MAX, HangWatch
from catchment.telemetry import files
from tests.conftest import Server, until
from tests.processes import alive

WITHIN_S = 60.0
HUNG, SOUND = 4_000_001, 4_000_002  # processes that only their files tell of


class Workers:
    """What two edge processes write, and which of them were killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.killed: list[int] = []
        self.names = {"edge-0": HUNG, "edge-1": SOUND}
        self.watch = HangWatch(folder, lambda: self.names.values(), self.killed.append)

    def write(self, name: str) -> None:
        self.file(name).write()

    def file(self, name: str) -> files.FigureFile:
        return files.FigureFile(self.folder, name, lambda: files.Snapshot(name, self.names[name], 1, 0.0))

    def look(self, times: int, *writing: str) -> None:
        for _ in range(times):
            for name in writing:
                self.write(name)
            self.watch.look()


def test_one_that_writes_no_more_is_killed_after_so_many_looks_and_the_others_are_not(tmp_path: Path) -> None:
    workers = Workers(tmp_path)
    workers.look(5, "edge-0", "edge-1")
    workers.look(LOOKS_MAX - 1, "edge-1")
    assert workers.killed == []
    workers.look(1, "edge-1")
    assert workers.killed == [HUNG]


def test_one_that_has_never_written_is_killed_as_well(tmp_path: Path) -> None:
    workers = Workers(tmp_path / "not there yet")
    workers.look(LOOKS_MAX)
    assert workers.killed == []
    workers.look(1)
    assert workers.killed == [HUNG, SOUND]


def test_one_that_stands_still_for_a_while_is_left_alone(tmp_path: Path) -> None:
    workers = Workers(tmp_path)
    for _ in range(3):  # as after SIGSTOP and SIGCONT, or where a busy machine lets it wait
        workers.look(LOOKS_MAX - 1, "edge-1")
        workers.look(1, "edge-0", "edge-1")
    assert workers.killed == []


def test_a_file_that_a_dead_process_of_the_same_number_left_hides_nobody(tmp_path: Path) -> None:
    workers = Workers(tmp_path)
    files.FigureFile(tmp_path, "edge-2", lambda: files.Snapshot("edge-2", SOUND, 1, 0.0)).write()
    workers.look(2 * LOOKS_MAX, "edge-0", "edge-1")
    assert workers.killed == []


def test_while_the_disk_takes_no_files_nobody_is_killed_and_counting_starts_anew(tmp_path: Path) -> None:
    workers = Workers(tmp_path)
    workers.look(1, "edge-0", "edge-1")
    workers.look(LOOKS_MAX - 1)
    in_its_way = tmp_path / "probe"
    in_its_way.mkdir()
    workers.look(3 * LOOKS_MAX)
    in_its_way.rmdir()
    workers.look(LOOKS_MAX - 1)
    assert workers.killed == []
    workers.look(1)
    assert workers.killed == [HUNG, SOUND]


def test_one_that_cannot_write_its_figures_shows_that_it_lives(tmp_path: Path) -> None:
    workers = Workers(tmp_path)
    workers.look(1, "edge-0", "edge-1")
    (tmp_path / "edge-0.new").mkdir()  # as where it has no handle left for a file
    workers.look(2 * LOOKS_MAX, "edge-0", "edge-1")
    assert workers.killed == []


def test_an_edge_process_that_hangs_is_killed_and_another_one_takes_its_connections(tmp_path: Path) -> None:
    server = Server(tmp_path, "--workers", "2")
    try:
        hung = server.parts("edge")[2]
        os.kill(hung, signal.SIGSTOP)
        until(lambda: not alive(hung), within_s=2 * WITHIN_S)
        until(lambda: len(server.parts("edge")) == 3, within_s=WITHIN_S)
        for _ in range(20):
            assert httpx.get(f"{server.ingest}/health/live", timeout=WITHIN_S, trust_env=False).status_code == 200
        restarts = 'catchment_process_restarts_total{process="edge"} 0.0'
        assert restarts in server.api.get("/metrics").text  # the group, and the other process, went on
    finally:
        assert server.stop() == 0
