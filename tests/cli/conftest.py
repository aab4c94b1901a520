"""What the commands of these tests have in common, where they run in the process of the test."""

import pytest

from catchment.cli import asking

WITHIN_S = 60.0


@pytest.fixture(autouse=True)
def _a_busy_machine_is_nothing_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """`status` gives the core and the edge a few seconds; here both are well, and the machine may stand still."""
    for name in ("LIVE_WITHIN_S", "EDGE_WITHIN_S"):
        monkeypatch.setattr(asking, name, WITHIN_S)
