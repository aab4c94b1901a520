"""What the vendors' parts of the document are built from."""

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
COMMON_HEADERS = ("IdempotencyKey", "ContentEncoding")


def ref(name: str) -> Json:
    """A reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def nullable(schema: Json) -> Json:
    """The schema, or null for "not given"."""
    return {"anyOf": [schema, {"type": "null"}]}


def array(items: Json, **bounds: int) -> Json:
    """A list of such values."""
    return {"type": "array", "items": items, **bounds}


def members(properties: Mapping[str, Json], *required: str, **more: Any) -> Json:
    """An object; members that it does not name are kept."""
    return {"type": "object", "properties": dict(properties), "required": list(required), **more}


def path_parameter(name: str, description: str, **schema: Any) -> Json:
    """A part of the path."""
    text = TEXT | {"minLength": 1} | schema
    return {"name": name, "in": "path", "required": True, "description": description, "schema": text}


def json_content(schema: Json) -> Json:
    """A body in JSON."""
    return {"application/json": {"schema": schema}}


def write(
    tag: str,
    summary: str,
    body: Json,
    *,
    operation: str,
    success: Json,
    error: str,
    faults: Mapping[int, str],
    parameters: tuple[Json, ...] = (),
    security: tuple[str, ...],
) -> Json:
    """A POST that stores something: its body, its one success, and every fault in the vendor's form."""
    responses: Json = dict(success)
    for status, description in sorted(faults.items()):
        responses[str(status)] = {"description": description, "content": json_content(ref(error))}
    common = [{"$ref": f"#/components/parameters/{name}"} for name in COMMON_HEADERS]
    return {
        "tags": [tag],
        "summary": summary,
        "operationId": operation,
        "parameters": [*parameters, *common],
        "requestBody": {"required": True, "content": json_content(body)},
        "responses": responses,
        "security": [{name: [] for name in security}],
    }
