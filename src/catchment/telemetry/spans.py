"""Spans by OpenTelemetry's SDK, which the extra `catchment[otel]` installs; `tracing` imports this by name.

The SDK reads the standard variables itself: endpoint, headers, sampler, service name, bounds of its queue. Ended spans
wait in that queue for a thread; where it is full they are dropped, so tracing holds up no request.

Attributes have the names of the semantic conventions where these have one. No span holds a path, a query, a body, a key
or an address: they may hold secrets, and the request id leads to what was kept of a call.
"""

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagators.textmap import Getter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from catchment import __version__
from catchment.telemetry.tracing import Carrier

CLOSE_WITHIN_S = 5.0
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
_NEW = Context()  # a span of ours is a root, or below the client's: never below what the thread happens to be in


class _Headers(Getter[Carrier]):
    """How the propagator reads a request's headers."""

    def get(self, carrier: Carrier, key: str) -> list[str] | None:
        value = carrier.get(key)
        return None if value is None else [value]

    def keys(self, carrier: Carrier) -> list[str]:  # noqa: ARG002
        return []


_HEADERS = _Headers()


class OpenTelemetryTracing:
    """See `Tracing`."""

    def __init__(self, part: str, exporters: set[str], environment: Mapping[str, str]) -> None:
        attributes = {SERVICE_VERSION: __version__, "catchment.part": part}
        if not environment.get("OTEL_SERVICE_NAME") and "service.name=" not in environment.get(
            "OTEL_RESOURCE_ATTRIBUTES", ""
        ):
            attributes[SERVICE_NAME] = "catchment"
        self._provider = TracerProvider(resource=Resource.create(attributes), shutdown_on_exit=False)
        for name in sorted(exporters):
            self._provider.add_span_processor(BatchSpanProcessor(_exporter(name)))
        self._tracer = self._provider.get_tracer("catchment", __version__)

    def begin_request(self, headers: Carrier, *, method: str, scheme: str, route: str) -> Span:
        """See `Tracing.begin_request`."""
        known = method if method in _METHODS else "_OTHER"
        attributes = {"http.request.method": known, "url.scheme": scheme}
        if route:
            attributes |= {"http.route": route, "url.path": route}
        return self._tracer.start_span(
            f"{known} {route}".rstrip(),
            context=propagate.extract(headers, context=_NEW, getter=_HEADERS),
            kind=SpanKind.SERVER,
            attributes=attributes,
        )

    def end_request(self, span: Span, status: int, attributes: Mapping[str, Any]) -> None:
        """See `Tracing.end_request`."""
        span.set_attributes(attributes)
        if status:
            span.set_attribute("http.response.status_code", status)
        if status >= 500 or not status:
            span.set_attribute("error.type", str(status) if status else "client_gone")
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    @contextmanager
    def insert(self, lines: bytes) -> Iterator[None]:
        """See `Tracing.insert`."""
        attributes = {"catchment.log.bytes": len(lines), "catchment.log.records": lines.count(b"\n")}
        with self._asked("INSERT log", attributes | {"db.operation.name": "INSERT", "db.collection.name": "log"}):
            yield

    @contextmanager
    def query(self, endpoint: str) -> Iterator[None]:
        """See `Tracing.query`."""
        with self._asked(f"SELECT {endpoint}", {"db.operation.name": "SELECT", "catchment.endpoint": endpoint}):
            yield

    def close(self) -> None:
        """See `Tracing.close`."""
        closing = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        closing.start()
        closing.join(CLOSE_WITHIN_S)

    @contextmanager
    def _asked(self, name: str, attributes: Mapping[str, Any]) -> Iterator[None]:
        span = self._tracer.start_span(name, context=_NEW, kind=SpanKind.CLIENT, attributes=attributes)
        span.set_attribute("db.system.name", "clickhouse")
        try:
            yield
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(Status(StatusCode.ERROR))
            raise
        finally:
            span.end()


def _exporter(name: str) -> SpanExporter:
    return OTLPSpanExporter() if name == "otlp" else ConsoleSpanExporter(out=sys.stderr)
