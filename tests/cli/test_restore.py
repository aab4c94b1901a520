"""What `catchment restore` says of a backup whose log held more than its tables."""

import json
from pathlib import Path

from tests.cli.test_commands import Stopped
from tests.conftest import catchment


def test_a_restore_tells_what_the_log_of_the_backup_adds(tmp_path: Path) -> None:
    stopped = Stopped(tmp_path / "data")
    catchment("backup", str(tmp_path / "backup"), data_dir=stopped.data_dir)
    told = catchment("restore", str(tmp_path / "backup"), "--format", "json", data_dir=tmp_path / "new")
    figures = {one["what"]: one for one in json.loads(told)}
    events = figures["rows of event_rows"]
    assert events["backup"] == events["restored"] < events["with_log"]
    assert figures["ledger: stored"]["with_log"] == 4
    text = catchment("restore", str(tmp_path / "backup"), data_dir=tmp_path / "other")
    assert "with its log" in text
    [row] = [line.replace("│", " ").split() for line in text.splitlines() if " rows of event_rows " in line]
    assert row[-3:] == [f"{events[name]}" for name in ("backup", "restored", "with_log")]
    assert "nothing is left to be loaded" in text
