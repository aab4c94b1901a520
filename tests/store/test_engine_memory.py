"""The bound that `catchment config check` tells is the one that the engine has."""

import subprocess
import sys
from pathlib import Path

from catchment.store import memory

ASK = """
import sys
from pathlib import Path
from catchment.settings import Sql
from catchment.store.clickhouse import ClickHouseStore
store = ClickHouseStore(Path(sys.argv[1]), Sql())
query = "SELECT value FROM system.server_settings WHERE name = 'max_server_memory_usage'"
print(store._text(store._writer, query, {}))
store.close()
"""


def test_the_bound_of_the_engine_is_the_one_that_it_sets_itself(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ASK, str(tmp_path / "store")]  # a process opens one store only
    engine = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert abs(memory.engine_bytes_max() - engine) <= 1 << 20


def test_the_least_of_a_control_group_and_those_above_it_counts(tmp_path: Path) -> None:
    groups = tmp_path / "cgroup"
    groups.write_text("0::/outer/inner\n")
    inner = tmp_path / "fs" / "outer" / "inner"
    inner.mkdir(parents=True)
    (inner / "memory.max").write_text("max\n")
    (inner.parent / "memory.max").write_text("1000000\n")
    assert memory._allowed(groups, tmp_path / "fs") == [1_000_000]
    assert memory._allowed(tmp_path / "none", tmp_path / "fs") == []
