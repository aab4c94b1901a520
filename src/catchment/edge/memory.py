"""The most memory that one edge process takes, of the bounds that are set: no sender can make it take more.

Each part was measured at its worst (docs/operations.md); what the allocator keeps is in the factors.
"""

from catchment.edge.body import AT_ONCE_BYTES_MAX
from catchment.settings import MIB, Limits, Settings

IDLE_BYTES = 128 * MIB  # the process as it starts, and its caches when they are full
CONNECTION_BYTES = 16 * 1024  # and the head, or as much of a body
BODY_COPIES = 3  # as the parts that came, put together, and handed over
LOG_COPIES = 2  # the lines that wait, and the group that is written
VALUE_BYTES = 150  # a JSON value as a Python object, at the worst


def bytes_max(settings: Settings) -> int:
    """Of the process: where it starts from, its connections, the bodies under way, the one that is taken apart, the
    records made of it, and what waits for the disk."""
    ingest, log = settings.ingest, settings.log
    largest = largest_body_bytes(settings.limits)
    return (
        IDLE_BYTES
        + ingest.connections_max * (CONNECTION_BYTES + ingest.head_bytes_max)
        + ingest.open_requests_max * AT_ONCE_BYTES_MAX  # on their way, and not counted before they are here
        + max(ingest.bodies_bytes_max, largest) * BODY_COPIES
        + largest  # what decompression makes
        + settings.limits.json_values_max * VALUE_BYTES
        + log.unsynced_bytes_max * LOG_COPIES * 2
    )


def largest_body_bytes(limits: Limits) -> int:
    """Of any route."""
    return max(int(size) for name, size in limits.model_dump().items() if name.endswith("_bytes_max"))
