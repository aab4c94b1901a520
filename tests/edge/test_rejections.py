"""How much of what is refused is kept, and of what else is bounded by the minute."""

import pytest

from catchment.edge.allowance import Allowance


def test_an_allowance_is_renewed_each_minute_and_tells_what_it_did_not_allow(caplog: pytest.LogCaptureFixture) -> None:
    now = 1000.0
    allowance = Allowance(2, "refusals of a test were not stored", lambda: now)
    assert [allowance.take() for _ in range(5)] == [True, True, False, False, False]
    assert allowance.overflow == 3
    now += 60
    assert [allowance.take() for _ in range(3)] == [True, True, False]
    assert "3 refusals of a test were not stored" in caplog.text
    assert allowance.overflow == 1


def test_an_allowance_that_is_changed_counts_what_was_taken_of_the_old_one() -> None:
    allowance = Allowance(2, "tests were left out", lambda: 1000.0)
    assert [allowance.take() for _ in range(3)] == [True, True, False]
    allowance.per_minute_max = 4
    assert [allowance.take() for _ in range(3)] == [True, True, False]
    allowance.per_minute_max = 0
    assert not allowance.take()
