"""`python -m catchment.torture.serve serve ...`: the program, but its supervisor starts the parts through `part`."""

import runpy
import sys

from catchment import supervisor


def main() -> None:
    """Runs the program with this process's arguments."""
    supervisor.PART_COMMAND = (sys.executable, "-m", "catchment.torture.part")
    runpy.run_module("catchment", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
