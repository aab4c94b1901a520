"""How much of what is refused is kept."""

import pytest

from catchment.edge.rejections import Allowance


def test_an_allowance_is_renewed_each_minute_and_tells_what_it_did_not_allow(caplog: pytest.LogCaptureFixture) -> None:
    now = 1000.0
    allowance = Allowance(2, "of a test", lambda: now)
    assert [allowance.take() for _ in range(5)] == [True, True, False, False, False]
    assert allowance.overflow == 3
    now += 60
    assert [allowance.take() for _ in range(3)] == [True, True, False]
    assert "3 refusals of a test were not stored" in caplog.text
    assert allowance.overflow == 1
