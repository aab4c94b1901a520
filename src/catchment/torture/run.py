"""One run: a server, clients, faults; then everything is healed, loaded, counted, and stopped in order.

Whatever happens, also on Ctrl-C, no process of the run lives on and no file system stays mounted. The folder of the run
stays where it did not pass, where the torturer itself failed, or where it was asked for. What was not tested, because
nothing was acknowledged or a fault never came, has not passed.
"""

import logging
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import httpx

from catchment.errors import CannotServe
from catchment.log.disk import LocalDisk
from catchment.log.verify import verify
from catchment.torture.client import Client
from catchment.torture.control import Control
from catchment.torture.disk import MIB, TortureDisk, open_disk
from catchment.torture.faults import World
from catchment.torture.notes import Notes
from catchment.torture.schedule import Schedule
from catchment.torture.server import TorturedServer, describe, keys_of
from catchment.torture.verdict import Verdict, look

LOADED_WITHIN_S = 300.0
CLIENTS_END_WITHIN_S = 60.0
OUTPUT_NAME, KEPT_NAME = "server.log", "disk-kept"
MORE_S = 60.0  # and as long again as planned: how much longer a run may last until each kind of fault came
_STEP_S = 0.1
_DISK_BYTES_MIN, _DISK_BYTES_AN_EVENT = 512 * MIB, 600

logger = logging.getLogger(__name__)


class Plan(NamedTuple):
    """What is asked for: `seconds` of fire, so many clients, all of them together `rate` events a second. Pauses and
    faults are `hurry` times as short. `keep` is whether the folder stays also where all is well."""

    seconds: float
    seed: int
    clients: int = 8
    rate: float = 400.0
    hurry: float = 1.0
    keep: bool = False


@dataclass
class Progress:
    """What can be told while it runs: `acknowledged` counts events as often as they were, so those of calls that were
    sent again count again; `retries` counts tries that got no answer, or a 5xx."""

    plan: Plan
    phase: str = "starting"
    seconds: float = 0.0
    acknowledged: int = 0
    retries: int = 0
    starts: int = 0
    running: list[str] = field(default_factory=list)


@dataclass
class Outcome:
    """How it ended. `folder` is where it can be looked into, None where it is gone; `faults` counts each kind."""

    verdict: Verdict
    faults: dict[str, int]
    seconds: float
    retries: int
    starts: int
    disk: str
    folder: Path | None


Tell = Callable[[Progress], None]


def run(plan: Plan, tell: Tell = lambda _progress: None) -> Outcome:
    """Runs it; `tell` is called some times a second. Raises `CannotServe` where the server never comes up."""
    folder = Path(tempfile.mkdtemp(prefix="catchment-torture-"))
    kept = False
    try:
        outcome = _run_in(plan, folder, tell)
        kept = plan.keep or not outcome.verdict.passed
        outcome.folder = folder if kept else None
        return outcome
    except Exception:
        kept = True
        logger.error("torture: it failed itself; what the run left, for a look into it: %s", folder)
        raise
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


def _run_in(plan: Plan, folder: Path, tell: Tell) -> Outcome:
    control = Control(folder / "control")
    disk = open_disk(folder, _DISK_BYTES_MIN + int(plan.seconds * plan.rate) * _DISK_BYTES_AN_EVENT, control)
    try:
        outcome = _run_on(plan, folder, control, disk, tell)
        if plan.keep or not outcome.verdict.passed:
            disk.keep(folder / KEPT_NAME)
        return outcome
    except Exception:
        with suppress(OSError):  # why it failed is what must be told
            disk.keep(folder / KEPT_NAME)
        raise
    finally:
        disk.close()


def _run_on(plan: Plan, folder: Path, control: Control, disk: TortureDisk, tell: Tell) -> Outcome:
    with (folder / OUTPUT_NAME).open("wb") as output:
        server, notes = TorturedServer(disk.path / "data", control, output), Notes(folder)
        try:
            return _Run(plan, control, disk, server, notes, tell).run()
        finally:
            server.destroy()
            notes.close()


class _Run:
    """The steps of one run on a server that is there but not started."""

    def __init__(
        self,
        plan: Plan,
        control: Control,
        disk: TortureDisk,
        server: TorturedServer,
        notes: Notes,
        tell: Tell,
    ) -> None:
        self._plan = plan
        self._disk = disk
        self._server = server
        self._tell = tell
        self._progress = Progress(plan)
        keys = keys_of(server.settings)
        rate = plan.rate / plan.clients
        self._clients = [
            Client(number, server.ingest, keys, rate=rate, seed=plan.seed, notes=notes)
            for number in range(plan.clients)
        ]
        chance = random.Random(plan.seed)  # noqa: S311 - repeatable, not secret
        self._world = World(server, control, disk, self._clients, chance)
        self._schedule = Schedule(self._world, notes, hurry=plan.hurry)

    def run(self) -> Outcome:
        """From the first start to the last count."""
        if not self._server.await_ready():
            raise CannotServe("the server did not start; try `catchment serve` in an empty folder to see why")
        begun = time.monotonic()
        for client in self._clients:
            client.start()
        try:
            self._burn(begun)
        finally:
            self._schedule.heal()
            self._world.control.heal()
            for client in self._clients:
                client.stop.set()
        seconds = time.monotonic() - begun
        never_came = self._schedule.never_came()
        verdict = self._count()
        verdict.more += [
            f"{name}: it never came, though it was tried {tries} times in {seconds:.0f} s, so it was not tested"
            for name, tries in never_came.items()
        ]
        retries = sum(client.retries for client in self._clients)
        faults = dict(self._schedule.begun)
        return Outcome(verdict, faults, seconds, retries, self._server.starts, self._disk.how, None)

    def _burn(self, begun: float) -> None:
        """Faults for as long as planned, and until each kind came once."""
        while True:
            elapsed = time.monotonic() - begun
            if elapsed >= self._plan.seconds and (self._schedule.had_all or elapsed >= 2 * self._plan.seconds + MORE_S):
                return
            self._server.keep_running()
            self._schedule.step()
            self._report("under fire", elapsed)
            time.sleep(_STEP_S)

    def _count(self) -> Verdict:
        """After everything is healed: the clients end, all is loaded, SQL answers, the server stops in order."""
        self._report("healing", 0)
        if not self._server.await_ready():
            return Verdict(more=["the server did not come up again after everything was healed"])
        for client in self._clients:
            client.join(CLIENTS_END_WITHIN_S)
        self._report("loading", 0)
        if not self._is_loaded():
            return Verdict(more=[f"the log was not loaded within {LOADED_WITHIN_S:.0f} s after everything was healed"])
        self._report("counting", 0)
        try:
            verdict = look(self._server, [client.account for client in self._clients])
        except httpx.HTTPError as error:
            return Verdict(more=[f"the count failed: {describe(error)}"])
        verdict.more += [f"client {client.name}: {client.error!r}" for client in self._clients if client.error]
        verdict.more += [f"{client.name} did not end" for client in self._clients if client.is_alive()]
        self._report("stopping", 0)
        code = self._server.stop()
        if code != 0:
            verdict.more.append(f"the healed server did not stop in order: exit code {code}")
        findings = list(verify(LocalDisk(), self._server.data_dir / "log"))
        verdict.more += [f"{found.segment} is {found.state}: {found.reason}" for found in findings if not found.sound]
        return verdict

    def _is_loaded(self) -> bool:
        """Whether the core has all that the log holds, in two looks one after the other."""
        deadline, looks = time.monotonic() + LOADED_WITHIN_S, 0
        while looks < 2 and time.monotonic() < deadline:
            looks = looks + 1 if self._server.unread_bytes() == 0 else 0
            self._server.keep_running()
            time.sleep(_STEP_S)
        return looks == 2

    def _report(self, phase: str, seconds: float) -> None:
        progress = self._progress
        progress.phase = phase
        progress.seconds = seconds or progress.seconds
        progress.acknowledged = self._world.acknowledged
        progress.retries = sum(client.retries for client in self._clients)
        progress.starts = self._server.starts
        progress.running = [one.fault.name for one in self._schedule.running]
        self._tell(progress)
