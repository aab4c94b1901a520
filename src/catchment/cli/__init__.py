"""The command line. Each command is a thin caller of the room that does the work.

What a server needs to come up are programs of their own: importing what every command needs takes longer than all the
rest of a start. The others are one program, `commands`, which has these too.
"""

import sys
from importlib import import_module
from typing import Any

PROGRAMS = {
    "--version": "catchment.cli.serving",
    "serve": "catchment.cli.serving",
    "edge": "catchment.cli.edge_part",
    "core": "catchment.cli.core_part",
}
_ALL_COMMANDS = "catchment.cli.commands"


def main() -> None:
    """The entry point."""
    first = sys.argv[1] if len(sys.argv) > 1 else ""
    program: Any = import_module(PROGRAMS.get(first, _ALL_COMMANDS))
    program.main()
