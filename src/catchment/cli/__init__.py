"""The command line. Each command is a thin caller of the room that does the work."""

from catchment.cli.commands import main

__all__ = ["main"]
