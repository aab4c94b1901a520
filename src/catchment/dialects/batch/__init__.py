"""Batch.com's Trigger Events API 1.0: events of one user, or of many (contracts/batch.md).

`dialect` has the way of a call, top to bottom. `members` reads an object member by member, `events` has the rules of an
event and makes its record, `faults` has the refusals.
"""

from catchment.dialects.batch.dialect import Batch

__all__ = ["Batch"]
