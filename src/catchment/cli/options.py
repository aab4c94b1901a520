"""Options that several commands have."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

DataDir = Annotated[
    Path, Parameter(env_var="CATCHMENT_DATA_DIR", help="Folder with catchment.toml, the log and the store.")
]
Format = Literal["table", "json", "csv", "ndjson"]
Flag = Annotated[bool, Parameter(negative=())]
Params = Annotated[list[str], Parameter(negative=(), allow_leading_hyphen=True)]
Source = Literal["moesif", "batch", "moloco"]
DEFAULT_DATA_DIR = Path("data")


class WrongArguments(Exception):
    """The arguments do not go together, or one cannot be read; the text says what to write."""


def named_values(given: Sequence[str]) -> dict[str, str]:
    """Each `NAME=VALUE` of --param; a value is text, and may be empty. Raises `WrongArguments`."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise WrongArguments(f"--param: write NAME=VALUE for {{NAME:Type}} in the query, not {text!r}")
        if name in found:
            raise WrongArguments(f"--param: {name} was given twice; one value is for every {{{name}:Type}}")
        found[name] = value
    return found
