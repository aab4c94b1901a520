"""Whether a process is there, and how much memory it takes."""

import psutil


def resident_bytes(pid: int) -> int | None:
    """Resident memory; None where there is no such process, or where it is another user's and the system does not tell.

    Of one that has ended and was not waited for, nothing is left."""
    try:
        return psutil.Process(pid).memory_info().rss or None
    except psutil.Error:
        return None
