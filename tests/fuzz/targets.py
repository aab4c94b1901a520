"""All targets, by name."""

from tests.fuzz import bodies, calls, files, logs
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target for target in (*calls.TARGETS, *bodies.TARGETS, *logs.TARGETS, *files.TARGETS)
}
