"""What of `catchment status` needs a person, and the exit code that tells a script so.

A line of the status that is red needs somebody, and makes the code 1, as whatever else a command finds wrong does. A
server that was stopped, or is starting or stopping, is 3, as `systemctl status` has it. Maintenance is neither:
somebody has turned it on, the line says so, and an alert tells when it was forgotten.
"""

from typing import Any

WELL, WRONG, NOT_RUNNING = 0, 1, 3
SOON_S = 3600  # until nothing is accepted


def needed(found: dict[str, Any]) -> list[str]:
    """The lines that need a person, by the word that each begins with; `found` is what `asking.status` gives."""
    loader, books, room = found.get("loader", {}), found.get("books", {}), found.get("room", {})
    wrong = {
        "edge": bool(found.get("not_accepting")),
        "core": "unanswered" in found,
        "store": loader.get("failing_for_seconds") is not None,
        "log": bool(loader.get("unreadable")),
        "books": bool(books.get("difference")),
        "room": is_short(room),
    }
    return [line for line, is_wrong in wrong.items() if is_wrong]


def exit_code(found: dict[str, Any]) -> int:
    """Of `catchment status`."""
    if needed(found):
        return WRONG
    return WELL if found["running"] else NOT_RUNNING


def is_short(room: dict[str, Any]) -> bool:
    """Whether nothing is accepted for want of room, or nothing will be soon."""
    left = room.get("seconds_left")
    return bool(room.get("short")) or (left is not None and left < SOON_S)
