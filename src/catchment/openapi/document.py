"""The document as a whole: the vendors' parts, the keys, and what all writes share."""

from importlib.metadata import version

from catchment.openapi import batch, moesif, moloco
from catchment.openapi.parts import TEXT, Json

_KEYS = {
    moesif.KEY: ("X-Moesif-Application-Id", "The application id."),
    batch.KEY: ("X-Authorization", "The REST API key of the application in the path."),
    moloco.KEY: ("x-api-key", "A key of the platform."),
    moloco.PLATFORM_KEY: ("x-platform-id", "The platform, where the path has none."),
}
_PARAMETERS: Json = {
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "The same key and body within 24 hours is answered like the first time, and counted once.",
        "schema": TEXT | {"pattern": "^[A-Za-z0-9-]{1,255}$"},
    },
    "ContentEncoding": {
        "name": "Content-Encoding",
        "in": "header",
        "description": "How the body is compressed: `gzip`, `deflate` or `identity`.",
        "schema": TEXT | {"enum": ["identity"]},
    },
}
_DESCRIPTION = """What senders may send, in each vendor's own form.

A success is answered once the events are on disk. A refusal is kept, and explained by `catchment rejections`. Members
that a schema does not name are kept with the event. Bodies may be compressed. Every answer has `x-request-id`.
"""


def document() -> Json:
    """OpenAPI 3.1. The server's address is the reader's to fill in."""
    parts = (moesif, batch, moloco)
    paths: Json = {}
    schemas: Json = {}
    for part in parts:
        paths |= part.paths()
        schemas |= part.schemas()
    return {
        "openapi": "3.1.0",
        "info": {"title": "Catchment", "version": version("catchment"), "description": _DESCRIPTION},
        "servers": [{"url": "http://127.0.0.1:8080"}],
        "tags": [{"name": part.TAG} for part in parts],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": _PARAMETERS,
            "securitySchemes": {
                name: {"type": "apiKey", "in": "header", "name": header, "description": description}
                for name, (header, description) in _KEYS.items()
            },
        },
    }
