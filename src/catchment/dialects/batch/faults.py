"""The refusals of Batch's API (contracts/batch.md 1 and 3)."""

from catchment.dialects.dialect import Faults
from catchment.errors import Fault

MISSING = Fault(400, 30, "MISSING_PARAMETER")
MALFORMED = Fault(400, 31, "MALFORMED_PARAMETER")
MALFORMED_JSON = Fault(400, 32, "MALFORMED_JSON_BODY")
UNAUTHORIZED = Fault(401, 10, "AUTHENTICATION_INVALID")
MISUSE = Fault(403, 12, "API_MISUSE")
NOT_FOUND = Fault(404, 20, "ROUTE_NOT_FOUND")
TOO_MANY = Fault(429, 60, "TOO_MANY_REQUESTS")
FAULTS = Faults(
    not_found=NOT_FOUND,
    wrong_method=NOT_FOUND,  # the vendor's table has neither 405 nor 413 (contract 3, 6.49)
    too_large=MALFORMED,
    malformed=MALFORMED_JSON,
    unavailable=Fault(503, 2, "MAINTENANCE_ERROR"),
    defect=Fault(500, 1, "SERVER_ERROR"),
    too_many=TOO_MANY,
    maintenance=Fault(503, 2, "MAINTENANCE_ERROR"),
    key_reused=Fault(422, 31, "MALFORMED_PARAMETER"),
    too_slow=Fault(408, 32, "MALFORMED_JSON_BODY"),  # the vendor has no code for a body that does not come
)
