"""Processes, as the tests look at them. Of one that has gone, nothing is told."""

import psutil


def children(pid: int) -> list[int]:
    """Process ids of those that it started."""
    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.NoSuchProcess:
        return []


def below(pid: int) -> list[int]:
    """Process ids of those that it started, and of those that they started."""
    return [inner for child in children(pid) for inner in (child, *below(child))]


def alive(pid: int) -> bool:
    """Whether it runs; not one that has ended and that nobody has waited for."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def command_line(pid: int) -> list[str]:
    """The program and its arguments."""
    try:
        return psutil.Process(pid).cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []


def command_lines() -> str:
    """Those of all processes of this machine that may be seen, a line each."""
    return "\n".join(" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"]))
