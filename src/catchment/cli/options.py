"""Options that several commands have."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

DataDir = Annotated[
    Path, Parameter(env_var="CATCHMENT_DATA_DIR", help="Folder with catchment.toml, the log and the store.")
]
Format = Literal["table", "json", "csv", "ndjson"]
Flag = Annotated[bool, Parameter(negative=())]
Source = Literal["moesif", "batch", "moloco"]
DEFAULT_DATA_DIR = Path("data")


class WrongArguments(Exception):
    """The arguments do not go together, or one cannot be read; the text says what to write."""
