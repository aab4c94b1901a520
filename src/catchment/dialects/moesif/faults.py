"""The refusals of Moesif's API (contracts/moesif.md 5), and msgspec's complaints in their terms.

The vendor documents the statuses but no codes; these are ours, and stable: rejections are grouped by them.
"""

from typing import Any

import msgspec
from msgspec import Raw

from catchment.dialects.dialect import Faults, json_fault
from catchment.errors import Fault, Refused

MALFORMED = Fault(400, "malformed_json", "Bad Request")
INVALID = Fault(400, "invalid_field", "Bad Request")
MISSING = Fault(400, "missing_field", "Bad Request")
TOO_OLD = Fault(400, "event_too_old", "Bad Request")
UNAUTHORIZED = Fault(401, "unauthorized", "Unauthorized")
FORBIDDEN = Fault(403, "forbidden", "Forbidden")
NOT_ACCEPTABLE = Fault(406, "not_acceptable", "Not Acceptable")
TOO_LARGE = Fault(413, "payload_too_large", "Payload Too Large")
FAULTS = Faults(
    not_found=Fault(404, "not_found", "Not Found"),
    wrong_method=Fault(405, "method_not_allowed", "Method Not Allowed"),
    too_large=TOO_LARGE,
    malformed=MALFORMED,
    unavailable=Fault(503, "unavailable", "Service Unavailable"),
    defect=Fault(500, "internal_error", "Internal Server Error"),
)

_DOCUMENT: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])
_MEMBERS: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])


def invalid(reason: str, path: str) -> Refused:
    """A member that was given, but not as it must be."""
    return Refused(INVALID, reason, path=path)


def missing(name: str, parent: str = "$") -> Refused:
    """A member without which nothing can be made of its object."""
    return Refused(MISSING, f"required field `{name}` is missing", path=f"{parent}.{name}")


def unfit(error: Exception) -> Refused:
    """What msgspec says of JSON that does not fit, or is none."""
    fault = json_fault(error)
    kind = MALFORMED if fault.malformed else MISSING if fault.missing else INVALID
    return Refused(kind, fault.reason, path=fault.path)


def document_of(raw: Any) -> dict[str, Any]:
    """The whole element as Python values; raises `Refused`, for its typed form has not looked at every part."""
    try:
        return _DOCUMENT.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise unfit(error) from None


def members_of(raw: Any) -> dict[str, Raw]:
    """The members of an object, each as sent."""
    try:
        return _MEMBERS.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise unfit(error) from None


def value_of(raw: Any) -> Any:
    """Any value as Python's."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise unfit(error) from None
