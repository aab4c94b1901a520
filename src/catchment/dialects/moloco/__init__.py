"""Moloco Commerce Media's User Event API, and the trackers of its Decision API (contracts/moloco.md).

`dialect` has the way of a call, top to bottom. A user event is read as protobuf reads JSON (`protobuf`) into one of the
`forms`, judged by `content`, and made a record by `events`; a tracker call is made one by `trackers`. Who did either
is decided in `identity`. `faults` has the refusals.
"""

from catchment.dialects.moloco.dialect import Moloco

__all__ = ["Moloco"]
