"""What the processes of the server ask of the system."""

import resource
import subprocess
import sys

RAISED = """
import resource
from catchment.parts import allow_many_files
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
allow_many_files()
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def test_a_process_may_have_as_many_files_open_as_the_system_lets_it() -> None:
    done = subprocess.run([sys.executable, "-c", RAISED], capture_output=True, text=True, timeout=60, check=True)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert int(done.stdout) == (1 << 20 if hard == resource.RLIM_INFINITY else min(hard, 1 << 20))
