"""Moesif's collector API v1: actions, API calls, users, companies, subscriptions (contracts/moesif.md).

`dialect` has the way of a call, top to bottom. It decodes bodies into the forms of `shapes`, which `events` and
`profiles` make records of; what they all look up of a call is its `context`. `governance` has the documents that
clients fetch, `credentials` what is secret, `bodies` what is too large, `spelling` the vendor's second way to write
names, `times` its many ways to write times, `negotiation` the headers that HTTP itself knows.
"""

from catchment.dialects.moesif.dialect import Moesif

__all__ = ["Moesif"]
