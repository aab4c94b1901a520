"""All targets, by name."""

from tests.fuzz import bodies, calls, credentials, files, logs, queries
from tests.fuzz.target import Target

_PARTS = (calls, credentials, bodies, logs, files, queries)
TARGETS: dict[str, Target] = {target.name: target for part in _PARTS for target in part.TARGETS}
