"""`python -m catchment.torture.serve serve ...`: the program, but its supervisor starts the parts through `part`.

Where the torturer is gone, it ends as on SIGTERM: nothing of a run outlives it.
"""

import os
import runpy
import sys

from catchment import parts, supervisor


def main() -> None:
    """Runs the program with this process's arguments."""
    parts.exit_with_parent(os.getppid())
    supervisor.PART_COMMAND = (sys.executable, "-m", "catchment.torture.part")
    runpy.run_module("catchment", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
