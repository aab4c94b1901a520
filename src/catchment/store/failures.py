"""What the engine says when something failed: its own words for a person, and whether the machine is to blame.

A line that the store cannot take is set aside; one that came while the disk was full is not. The engine names the kind
of an error at the end of its message, and begins it with words of its own. What is between may quote a line, so it is
not believed.

Memory may run out because others took it, or because there is much in the lines. Where the limit for a single insert
was reached, the lines are the reason. Where it was that for the whole process, either may be: no line is to blame then,
but fewer of them at once may be taken.
"""

import re

_PREFIX = re.compile(r"^(?:(?:Code: \d+\. )?DB::Exception: )+")
_VERSION_TAIL = re.compile(r"\s*\(version [^)]*\)")
_NAME = re.compile(r"\(([A-Z0-9_]+)\)\s*$")
_ALL_MEMORY = "(total) memory limit exceeded:"
_NO_MEMORY = "CANNOT_ALLOCATE_MEMORY"
# Where the machine is at fault, and no line. Time and the memory of one insert are not here: a large line may be why
# they ran out, and smaller inserts help.
_OF_THE_MACHINE = frozenset(
    (
        "ABORTED",
        "ATOMIC_RENAME_FAIL",
        "CANNOT_CLOSE_FILE",
        "CANNOT_CREATE_DIRECTORY",
        "CANNOT_CREATE_FILE",
        "CANNOT_FSYNC",
        "CANNOT_OPEN_FILE",
        "CANNOT_READ_FROM_FILE_DESCRIPTOR",
        "CANNOT_SCHEDULE_TASK",
        "CANNOT_SEEK_THROUGH_FILE",
        "CANNOT_STATVFS",
        "CANNOT_TRUNCATE_FILE",
        "CANNOT_WRITE_TO_FILE_DESCRIPTOR",
        "DIRECTORY_ALREADY_EXISTS",
        "FILE_DOESNT_EXIST",
        "NOT_ENOUGH_SPACE",
        "STD_EXCEPTION",
        "TABLE_IS_READ_ONLY",
        "TOO_MANY_PARTS",
    )
)


def message_of(error: Exception) -> str:
    """The engine's message without its stack and version."""
    text = _VERSION_TAIL.sub("", str(error).split("\n", 1)[0])
    return _PREFIX.sub("", text).strip()


def is_passing(error: Exception) -> bool:
    """Whether it is about the machine and not about the lines."""
    return isinstance(error, OSError) or _name_of(error) in _OF_THE_MACHINE or is_for_want_of_memory(error)


def is_for_want_of_memory(error: Exception) -> bool:
    """Whether the machine has no memory left, or the engine has used up its share of it, whoever has it."""
    return _name_of(error) == _NO_MEMORY or message_of(error).startswith(_ALL_MEMORY)


def _name_of(error: Exception) -> str:
    name = _NAME.search(message_of(error))
    return name[1] if name else ""
