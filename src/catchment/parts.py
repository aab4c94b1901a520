"""What the supervisor and its parts agree on: how long a part may take to end, and that it ends with its parent.

Both kinds of parts import this when they start, and the edge must be quick: nothing heavy belongs here.
"""

import faulthandler
import os
import resource
import signal
import threading
from contextlib import suppress

PARENT_PID = "CATCHMENT_PARENT_PID"
RUN_HASH = "CATCHMENT_RUN_HASH"  # of the secret of this run, for the core
DRAIN_S = 20  # for the requests under way when the edge is to stop
CORE_NICENESS = 10  # where processors are short, accepting goes before loading, which catches up
STACKS = signal.SIGUSR2
_PARENT_CHECK_S = 0.5
_ORPHAN_AGAIN_S = 5.0
_FILES_MAX = 1 << 20


def exit_with_parent(parent: int | None = None) -> None:
    """Ends this process, in order, when the one that started it is gone: an orphan would hold the port.

    The parent tells who it is, through `PARENT_PID` or the argument: it may have gone before this process could look.
    A signal may be lost on a process that has just begun, and nobody else will send another one, so it is repeated.
    """
    expected = parent or int(os.environ.get(PARENT_PID) or os.getppid())

    def watch() -> None:
        while not never.wait(_PARENT_CHECK_S):
            if os.getppid() != expected:
                os.kill(os.getpid(), signal.SIGTERM)
                never.wait(_ORPHAN_AGAIN_S)

    never = threading.Event()
    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def tell_where_it_stands() -> None:
    """On `STACKS`, writes where each thread of this process stands to standard error: a process that hangs is asked
    before it is killed."""
    faulthandler.register(STACKS)


def let_the_edge_go_first(core: int = 0) -> None:
    """Lowers the priority of the core, process `core` or this one: while both start, the edge must not wait for it."""
    os.setpriority(os.PRIO_PROCESS, core, max(CORE_NICENESS, os.getpriority(os.PRIO_PROCESS, core)))


def ending(code: int | None) -> str:
    """How a process ended, by its exit code as Python has it: `was killed by SIGKILL`, `ended with exit code 1`."""
    if code is None:
        return "ended"
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"  # not all have names
    return f"was killed by {name}"


def allow_many_files() -> None:
    """As many as the system lets this process have: many connections, and while parts are merged, the columns of all
    of them, are more than the 1024 that most systems begin with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, _FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
