"""The OpenAPI document of the ingest port: every vendor's endpoints, in words that tools read.

A description only: what is accepted is decided by the dialects. Where a dialect has typed shapes, the schemas are made
from these. A test sends whatever the document allows, and holds each answer to it.
"""

from catchment.openapi.document import document

__all__ = ["document"]
