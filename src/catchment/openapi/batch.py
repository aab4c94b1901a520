"""Batch.com's part (contracts/batch.md 1 and 2)."""

from catchment.openapi.parts import TEXT, Json, array, json_content, members, nullable, path_parameter, ref, write

TAG = "Batch"
KEY = "BatchRestApiKey"
_API_KEY = path_parameter("api_key", "A Live, Dev or SDK API key.", pattern="^[A-Za-z0-9]+$")
_USER_ID = path_parameter("user_id", "The custom user id, percent-encoded.")
_FAULTS = {
    400: "The body is not what it must be; the message names the place.",
    401: "The keys are missing, unknown, or of different applications.",
    403: "Trigger events are turned off for the application.",
    404: "There is no such path.",
    422: "The Idempotency-Key came with another body before.",
    408: "The body did not come in time.",
    429: "Too many calls.",
    503: "Nothing can be stored now; try again later.",
}
_DESCRIPTION = (
    "Names are typed by their form: `date(name)` is a time, `YYYY-MM-DDThh:mm:ss`. A text has 64 characters at most."
)


def schemas() -> Json:
    """Of a user's events."""
    attribute = {"anyOf": [TEXT | {"maxLength": 64}, {"type": "number"}, {"type": "boolean"}]}
    event = members(
        {
            "name": TEXT | {"pattern": "^ue\\.[A-Za-z0-9_]{1,64}$"},
            "time": nullable(TEXT | {"pattern": "^20[0-2][0-9]-0[1-9]-[0-2][1-8]T[0-1][0-9]:[0-5][0-9]:[0-5][0-9]$"}),
            "label": nullable(TEXT | {"maxLength": 200}),
            "tags": nullable(array(TEXT | {"minLength": 1, "maxLength": 64}, maxItems=10)),
            "attributes": nullable(
                {
                    "type": "object",
                    "description": _DESCRIPTION,
                    "propertyNames": {"pattern": "^[a-z0-9_]{1,30}$"},
                    "additionalProperties": attribute,
                    "maxProperties": 15,
                }
            ),
        },
        "name",
    )
    user = members({"id": TEXT | {"minLength": 1}, "events": array(ref("BatchEvent"), minItems=1)}, "id", "events")
    events = members({"events": array(ref("BatchEvent"), minItems=1)}, "events")
    error = members({"code": {"type": "integer"}, "type": TEXT, "message": TEXT}, "code", "type", "message")
    return {"BatchEvent": event, "BatchEvents": events, "BatchUser": user, "BatchError": error}


def paths() -> Json:
    """Events of one user, and of many."""
    token = members({"token": TEXT | {"format": "uuid"}}, "token")
    success: Json = {
        "201": {
            "description": "Stored; `catchment request TOKEN` finds the events.",
            "content": json_content(token),
        }
    }
    root = "/1.0/{api_key}/events/users"
    return {
        f"{root}/{{user_id}}": {
            "post": write(
                TAG,
                "Store events of one user",
                ref("BatchEvents"),
                operation="batch_single",
                success=success,
                error="BatchError",
                faults=_FAULTS,
                parameters=(_API_KEY, _USER_ID),
                security=(KEY,),
            )
        },
        root: {
            "post": write(
                TAG,
                "Store events of many users",
                array(ref("BatchUser"), minItems=1),
                operation="batch_bulk",
                success=success,
                error="BatchError",
                faults=_FAULTS,
                parameters=(_API_KEY,),
                security=(KEY,),
            )
        },
    }
