"""The refusals of Moloco's API (contracts/moloco.md 3): google.rpc codes, and the documented texts, where there are."""

from catchment.dialects.dialect import Faults
from catchment.errors import Fault, Refused

INVALID = Fault(400, 3, "Bad Request")
UNAUTHENTICATED = Fault(401, 16, "Unauthorized")
DENIED = Fault(403, 7, "Forbidden")
NO_PLATFORM = Fault(404, 5, "Unknown Platform")
FAULTS = Faults(
    not_found=Fault(404, 5, "Not Found"),
    wrong_method=Fault(405, 12, "Method Not Allowed"),
    too_large=INVALID,  # there is no 413 in the vendor's list (6.47)
    malformed=INVALID,
    unavailable=Fault(503, 14, "Service Unavailable"),
    defect=Fault(500, 13, "Internal Server Error"),
    too_many=Fault(429, 8, "Too Many Requests"),
    maintenance=Fault(503, 14, "Service Unavailable"),
    key_reused=Fault(422, 3, "Unprocessable Content"),
    too_slow=Fault(408, 4, "Request Timeout"),
)
UNROUTED = (FAULTS.not_found, FAULTS.wrong_method)  # answered with their names, as the gateway does (6.19, 6.20)

NO_IDENTIFIER = "no available valid identifier to construct Moloco advertising ID"
NO_APP_OS = "device os must contain ios or android for the app channel type"
NO_ITEM_ID = "invalid item: either id or item_group_id must be set"
BAD_TIME = "invalid timestamp"


def invalid(reason: str, path: str) -> Refused:
    """A body, or a part of it, that does not do."""
    return Refused(INVALID, reason, path=path)
