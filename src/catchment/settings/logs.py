"""The settings of the lines that the server's processes write to standard error."""

from typing import Literal

from pydantic import Field

from catchment.settings.section import Section


class Logging(Section):
    """The lines on standard error: what went wrong, and what to do. They hold no keys, tokens and bodies."""

    format: Literal["human", "json"] = Field(
        "human", description="Lines for a terminal, or one JSON object a line for a log collector."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="What is told; `debug` adds the traceback of a defect, in which data may be."
    )
    lines_per_minute_max: int = Field(
        10, ge=1, description="Lines of one kind that a process writes in a minute; how many more there were is told."
    )
