"""What goes wrong: a table of faults, each of which begins and ends on a server under torture.

A fault that cannot begin now, because what it needs is not there, is missed and comes again later. Two faults of one
`group` never run at the same time, for they would turn the same knob; all others may overlap. What a fault does is
undone by `end`, whatever happened to the server meanwhile, and `end` never fails.
"""

import errno
import random
import signal
from collections.abc import Callable, Sequence
from typing import NamedTuple

from catchment import config, maintenance
from catchment.torture.client import Client, Manners
from catchment.torture.control import Control, Dial
from catchment.torture.disk import TortureDisk
from catchment.torture.server import Role, TorturedServer

HOUR_US = 3_600_000_000
ROUGH = Manners(cut=0.3, slow=0.1, gone=0.3, again=0.3, bad=0.1)
_BROKEN_SETTINGS = ("[limits]\nrejections_per_minute_max = 'many'\n", "[apps\n", "colour = 'blue'\n")


class World(NamedTuple):
    """What a fault may lay its hands on."""

    server: TorturedServer
    control: Control
    disk: TortureDisk
    clients: Sequence[Client]
    chance: random.Random

    @property
    def acknowledged(self) -> int:
        """Events so far, as often as they were."""
        return sum(client.acknowledged for client in self.clients)


End = Callable[[], None]


class Fault(NamedTuple):
    """One kind of fault: how often it comes among others, how long it lasts, and how it begins: that gives how it ends,
    or None where it could not begin."""

    name: str
    group: str
    weight: int
    seconds: tuple[float, float]
    begin: Callable[[World], End | None]


def _nothing() -> None:
    """Nothing is left to undo."""


def _kill(role: Role) -> Callable[[World], End | None]:
    def begin(world: World) -> End | None:
        victims = world.server.processes(role)
        killed = bool(victims) and world.server.send(world.chance.choice(victims), signal.SIGKILL)
        return _nothing if killed else None

    return begin


def _pause(role: Role) -> Callable[[World], End | None]:
    def begin(world: World) -> End | None:
        victims = world.server.processes(role)
        if not victims:
            return None
        victim = world.chance.choice(victims)
        if not world.server.send(victim, signal.SIGSTOP):
            return None

        def end() -> None:
            world.server.send(victim, signal.SIGCONT)

        return end

    return begin


def _restart(world: World) -> End | None:
    """SIGTERM; whoever keeps the server running starts it again once it has ended."""
    victims = world.server.processes("server")
    return _nothing if victims and world.server.send(victims[0], signal.SIGTERM) else None


def _dial(dial: Dial, *numbers: int) -> Callable[[World], End | None]:
    def begin(world: World) -> End | None:
        world.control[dial] = world.chance.choice(numbers)

        def end() -> None:
            world.control[dial] = 0

        return end

    return begin


def _fill_disk(world: World) -> End | None:
    return world.disk.empty if world.disk.fill() else None


def _break_settings(world: World) -> End | None:
    path = world.server.data_dir / config.FILE_NAME
    sound = path.read_bytes()

    def put(content: bytes) -> bool:
        fresh = path.with_name("torture.toml")
        try:
            fresh.write_bytes(content)
            fresh.replace(path)
        except OSError:
            return False  # the disk is full, and whoever edits a file then has to wait
        return True

    if not put(sound + world.chance.choice(_BROKEN_SETTINGS).encode()):
        return None

    def end() -> None:
        if not put(sound):
            world.disk.empty()
            put(sound)

    return end


def _maintain(world: World) -> End | None:
    try:
        maintenance.begin(world.server.data_dir, "torture")
    except OSError:
        return None
    return lambda: maintenance.end(world.server.data_dir)


def _misbehave(world: World) -> End | None:
    for client in world.clients:
        client.manners = ROUGH

    def end() -> None:
        for client in world.clients:
            client.manners = Manners()

    return end


FAULTS = (
    Fault("edge process killed", "worker", 4, (0.5, 2), _kill("worker")),
    Fault("edge group killed", "edge", 2, (1, 3), _kill("edge")),
    Fault("core killed", "core", 4, (1, 3), _kill("core")),
    Fault("supervisor killed", "server", 1, (3, 6), _kill("server")),
    Fault("stopped in order", "server", 1, (5, 10), _restart),
    Fault("edge process paused", "pause", 2, (1, 4), _pause("worker")),
    Fault("edge group paused", "pause", 1, (1, 4), _pause("edge")),
    Fault("core paused", "pause", 2, (1, 6), _pause("core")),
    Fault("supervisor paused", "pause", 1, (1, 4), _pause("server")),
    Fault("clock set forward", "clock", 2, (3, 15), _dial(Dial.CLOCK_US, 61_000_000, HOUR_US, 30 * HOUR_US)),
    Fault("clock set back", "clock", 2, (3, 15), _dial(Dial.CLOCK_US, -1_000_000, -HOUR_US, -30 * HOUR_US)),
    Fault("slow syncs", "sync", 3, (2, 8), _dial(Dial.SYNC_MS, 50, 200, 500)),
    Fault("failing syncs", "write", 2, (0.05, 1), _dial(Dial.SYNC_ERROR, errno.EIO)),
    Fault("failing writes", "write", 2, (0.05, 1), _dial(Dial.WRITE_ERROR, errno.EIO)),
    Fault("disk full", "write", 3, (1, 6), _fill_disk),
    Fault("broken settings", "settings", 1, (2, 6), _break_settings),
    Fault("maintenance", "maintenance", 1, (1, 3), _maintain),
    Fault("connections cut", "clients", 3, (3, 8), _misbehave),
)
