"""Moesif's part (contracts/moesif.md 1 and 2), with schemas made from the shapes that the dialect decodes by."""

from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from msgspec import Raw, Struct, UnsetType

from catchment.dialects.moesif.shapes import (
    Action,
    ActionRequest,
    ApiCall,
    ApiRequest,
    ApiResponse,
    Company,
    Subscription,
    SubscriptionItem,
    User,
)
from catchment.openapi.parts import TEXT, Json, array, json_content, members, ref, write

TAG = "Moesif"
KEY = "MoesifApplicationId"
_FORMS = (Action, ActionRequest, ApiCall, ApiRequest, ApiResponse, Company, Subscription, SubscriptionItem, User)
_RESOURCES = {
    "actions": ("Action", "what a user did"),
    "events": ("ApiCall", "API calls"),
    "users": ("User", "what is known of users"),
    "companies": ("Company", "what is known of companies"),
    "subscriptions": ("Subscription", "what is known of subscriptions"),
}
_REQUIRED = {
    "Action": ["action_name", "request"],
    "ApiCall": ["request"],
    "ApiRequest": ["time", "uri", "verb"],
    "Company": ["company_id"],
    "Subscription": ["subscription_id", "company_id"],
    "SubscriptionItem": ["plan_id"],
}
_TIME: Json = {
    "description": "ISO 8601, without a zone in UTC, or milliseconds since 1970.",
    "anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}, {"type": "null"}],
}
_TIMES = frozenset(("time", "modified_time", "current_period_start", "current_period_end"))
_ANY_OBJECT: Json = {"type": ["object", "null"]}
_PLAIN: dict[Any, Json | None] = {
    str: TEXT,
    int: {"type": "integer"},
    float: {"type": "number"},
    Raw: {},
    NoneType: {"type": "null"},
    UnsetType: None,
}
_FAULTS = {
    400: "The body is not what it must be; the message names the place.",
    401: "No known application id.",
    403: "The application does not take this resource.",
    406: "The caller takes no JSON.",
    413: "The body is too large.",
    422: "The Idempotency-Key came with another body before.",
    408: "The body did not come in time.",
    429: "Too many calls.",
    503: "Nothing can be stored now; try again later.",
}
_BY_ID = ("user_sample_rate", "company_sample_rate", "user_rules", "company_rules")
_TAGS: Json = {
    "X-Moesif-Config-ETag": {"description": "Tag of `/v1/config`.", "schema": TEXT},
    "X-Moesif-Rules-Tag": {"description": "Tag of `/v1/rules`.", "schema": TEXT},
}


def schemas() -> Json:
    """Of the elements, under their snake_case names: the camelCase ones are understood as well."""
    made: Json = {form.__name__: _schema(form) for form in _FORMS}
    error = members({"code": TEXT, "msg": TEXT}, "code", "msg")
    return made | {
        "MoesifError": members({"moesif_error": error}, "moesif_error"),
        "MoesifConfig": members(
            {
                "sample_rate": {"type": "integer", "minimum": 0, "maximum": 100},
                **{name: {"type": "object"} for name in _BY_ID},
                "regex_config": array({"type": "object"}),
            },
            "sample_rate",
            *_BY_ID,
            "regex_config",
        ),
    }


def paths() -> Json:
    """The ten writes, the two documents, and the probe."""
    made: Json = {}
    for resource, (element, what) in _RESOURCES.items():
        for path, body, form in ((resource, ref(element), "one"), (f"{resource}/batch", array(ref(element)), "many")):
            made[f"/v1/{path}"] = {
                "post": write(
                    TAG,
                    f"Store {what}, {form} at a time",
                    body,
                    operation=f"moesif_{path.replace('/', '_')}",
                    success={
                        "201": {"description": "Stored.", "headers": _TAGS, "content": json_content({"type": "object"})}
                    },
                    error="MoesifError",
                    faults=_FAULTS,
                    security=(KEY,),
                )
            }
    for name, body in (("config", ref("MoesifConfig")), ("rules", array({"type": "object"}))):
        made[f"/v1/{name}"] = {"get": _document(name, body)}
    probe = members({"status": {"type": "boolean"}, "region": TEXT}, "status", "region")
    made["/health/probe"] = {
        "get": {
            "tags": [TAG],
            "summary": "Whether the server is there",
            "operationId": "moesif_probe",
            "responses": {"200": {"description": "It is.", "content": json_content(probe)}},
            "security": [],
        }
    }
    return made


def _document(name: str, body: Json) -> Json:
    faults = {status: _FAULTS[status] for status in (401, 406)}
    refused = {
        str(status): {"description": text, "content": json_content(ref("MoesifError"))}
        for status, text in faults.items()
    }
    unchanged = {"description": "The caller's version is the current one.", "headers": _TAGS}
    return {
        "tags": [TAG],
        "summary": f"The {name} of an application's clients",
        "operationId": f"moesif_{name}",
        "parameters": [
            {"name": "If-None-Match", "in": "header", "description": "A tag.", "schema": TEXT | {"pattern": "^[!-~]+$"}}
        ],
        "responses": {
            "200": {"description": "The document.", "headers": _TAGS, "content": json_content(body)},
            "304": unchanged,
            **refused,
        },
        "security": [{KEY: []}],
    }


def _schema(form: type[Struct]) -> Json:
    name, hints = form.__name__, get_type_hints(form)
    required = _REQUIRED.get(name, ())
    properties: Json = {
        member: _TIME if member in _TIMES else _given(hint) if member in required else _any_of(_schemas_of(hint))
        for member, hint in hints.items()
        if member.islower()
    }
    properties |= {"metadata": _ANY_OBJECT} if "metadata" in hints else {}
    made = members(properties, *required)
    if form is User:
        ids = ("user_id", "anonymous_id")
        made["anyOf"] = [{"required": [one], "properties": {one: TEXT | {"minLength": 1}}} for one in ids]
    return made


def _schemas_of(hint: Any) -> list[Json]:
    """The schemas of a shape's member, one for each type that it may have."""
    if get_origin(hint) in (Union, UnionType):
        return [schema for part in get_args(hint) for schema in _schemas_of(part)]
    if get_origin(hint) is list:
        return [array(_any_of(_schemas_of(get_args(hint)[0])))]
    if get_origin(hint) is dict:
        return [{"type": "object"}]
    if isinstance(hint, type) and issubclass(hint, Struct):
        return [ref(hint.__name__)]
    plain = _PLAIN[hint]
    return [] if plain is None else [plain]


def _any_of(schemas: list[Json]) -> Json:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _given(hint: Any) -> Json:
    """A member that must be there, so not null and not empty."""
    [schema] = [schema for schema in _schemas_of(hint) if schema != {"type": "null"}]
    return schema | {"minLength": 1} if schema == TEXT else schema
