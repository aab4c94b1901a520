"""The id of a request: the client's where that is well formed, else one of this process."""

import itertools
import re
import secrets

HEADER = "x-request-id"
CHARS_MAX = 128
_ID = re.compile(rf"[A-Za-z0-9._:=+/@-]{{1,{CHARS_MAX}}}")
_START_BYTES = 6


class RequestIds:
    """Makes ids: a random start for the process, and a running number."""

    def __init__(self) -> None:
        self._start = secrets.token_hex(_START_BYTES) + "-"
        self._numbers = itertools.count(1)

    def new(self) -> str:
        """Another one."""
        return f"{self._start}{next(self._numbers):x}"


def well_formed(given: str | None) -> str:
    """The id that a client gave; `""` where it is none, or would be a burden to whoever reads it."""
    return given if given is not None and _ID.fullmatch(given) else ""
