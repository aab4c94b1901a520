"""Moloco's part (contracts/moloco.md 1 and 2)."""

from catchment.dialects.moloco.forms import CHANNEL_TYPES, CURRENCIES, EVENT_TYPES, PERSONALIZATION_MODES
from catchment.openapi.parts import TEXT, Json, array, json_content, members, nullable, path_parameter, ref, write

TAG = "Moloco"
KEY, PLATFORM_KEY = "MolocoApiKey", "MolocoPlatformId"
_PLATFORM = path_parameter("platform", "The platform id.", pattern="^[A-Za-z0-9_-]+$")
_FAULTS = {
    400: "The body is not what it must be.",
    401: "There is no key.",
    403: "The key is not one of this platform, or has expired.",
    404: "There is no such platform or path.",
    422: "The Idempotency-Key came with another body before.",
    408: "The body did not come in time.",
    429: "Too many calls.",
    503: "Nothing can be stored now; try again later.",
}
_OPTIONAL_TEXTS = "id domain search_query session_id page_id referrer_page_id decision_track_id"
_DEVICE = "os os_version advertising_id unique_device_id persistent_id model ua language ip"


def schemas() -> Json:
    """Of a user event. What an event type needs beyond this is told by the answer."""
    integer = {"anyOf": [{"type": "integer"}, TEXT | {"pattern": "^[0-9]{1,9}$"}]}
    event = members(
        {
            "event_type": _enum(EVENT_TYPES),
            "timestamp": {"description": "Milliseconds since 1970.", **_milliseconds()},
            "channel_type": _enum(CHANNEL_TYPES),
            "user_id": TEXT,
            "custom_id": nullable(TEXT),
            **{name: nullable(TEXT) for name in _OPTIONAL_TEXTS.split()},
            "device": nullable(members({name: nullable(TEXT) for name in _DEVICE.split()})),
            "items": nullable(array(ref("MolocoItem"))),
            "revenue": nullable(ref("MolocoMoney")),
            "shipping_charge": nullable(ref("MolocoMoney")),
            "personalization_mode": nullable(_enum(PERSONALIZATION_MODES)),
        },
        "event_type",
        "timestamp",
        "channel_type",
        "user_id",
    )
    item = members(
        {
            "id": TEXT | {"minLength": 1},
            "item_group_id": nullable(TEXT),
            "seller_id": nullable(TEXT),
            "price": nullable(ref("MolocoMoney")),
            "quantity": nullable(integer),
        },
        "id",
    )
    money = members({"currency": _enum(CURRENCIES), "amount": {"type": "number"}}, "currency", "amount")
    error = members({"code": {"type": "integer"}, "message": TEXT, "details": array({})}, "code", "message", "details")
    return {"MolocoUserEvent": event, "MolocoItem": item, "MolocoMoney": money, "MolocoError": error}


def paths() -> Json:
    """Both doors, and the trackers."""
    success: Json = {"200": {"description": "Stored.", "content": json_content({"type": "object", "maxProperties": 0})}}
    doors = (
        ("/rmp/event/v1/platforms/{platform}/userevents", "moloco_user_event", (_PLATFORM,), (KEY,)),
        ("/cdp/SEGMENT", "moloco_segment", (), (KEY, PLATFORM_KEY)),
    )
    made: Json = {}
    for path, operation, parameters, security in doors:
        made[path] = {
            "post": write(
                TAG,
                "Store a user event",
                ref("MolocoUserEvent"),
                operation=operation,
                success=success,
                error="MolocoError",
                faults=_FAULTS,
                parameters=parameters,
                security=security,
            )
        }
    for letter, what in (("i", "an impression"), ("c", "a click")):
        made[f"/t/{letter}/{{platform}}"] = {"get": _tracker(what)}
    return made


def _tracker(what: str) -> Json:
    refused = {
        str(status): {"description": _FAULTS[status], "content": json_content(ref("MolocoError"))}
        for status in (400, 404, 408, 429, 503)
    }
    return {
        "tags": [TAG],
        "summary": f"Store {what}",
        "operationId": f"moloco_{what.split()[1]}",
        "parameters": [_PLATFORM],
        "responses": {"200": {"description": "Stored, or counted before."}, **refused},
        "security": [],
    }


def _enum(names: str) -> Json:
    return {"type": "string", "enum": names.split()[1:]}


def _milliseconds() -> Json:
    return {"anyOf": [{"type": "integer", "minimum": 1}, TEXT | {"pattern": "^[1-9][0-9]{0,11}$"}]}
