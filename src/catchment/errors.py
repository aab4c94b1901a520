"""Whose fault it is.

`Refused` is the sender's fault: it carries the status and code that the vendor would answer, and the JSON path of
the fault. `LogUnavailable` is ours: the request was sound but could not be made durable, so the sender must try again.
Everything else that escapes is a defect and is answered 500 in the vendor's form.
"""

import os
from typing import ClassVar, NamedTuple


class Fault(NamedTuple):
    """One kind of refusal in a vendor's own terms: HTTP status, the vendor's code, its symbolic name."""

    status: int
    code: int | str
    name: str


class Refused(Exception):
    """The request cannot be accepted, and the sender has to change something.

    `reason` is a sentence for the sender; `path` is the JSON path of the fault (`$[3].action_name`), or `""` where
    the fault is not in the body. `app` is filled in as soon as the application is known.
    """

    def __init__(self, fault: Fault, reason: str, *, path: str = "") -> None:
        super().__init__(reason)
        self.fault = fault
        self.reason = reason
        self.path = path


class LogUnavailable(Exception):
    """The log could not make the lines durable; nothing was acknowledged. `cause` is one of a few words: a label."""

    def __init__(self, reason: str, *, cause: str = "log") -> None:
        super().__init__(reason)
        self.cause = cause


class Cannot(Exception):
    """Why a command cannot do what it is asked to, and what to do: a sentence for the person who gave it."""

    exit_code: ClassVar[int] = 1


class CannotServe(Cannot):
    """Why serving cannot start."""


class CannotEver(Cannot):
    """The same where nothing changes by trying again later: not before somebody has done something."""

    exit_code = os.EX_CONFIG


EXIT_FOR_GOOD = (2, CannotEver.exit_code)  # 2: the settings or the arguments are wrong
