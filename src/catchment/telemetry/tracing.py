"""Whether somebody traces, and what a tracer can do; without one nothing of it is even imported.

The standard environment variables of OpenTelemetry say where spans go. Tracing is on where `OTEL_TRACES_EXPORTER` or an
OTLP endpoint is set and nothing says otherwise. It is never a reason not to start: where the package is missing or a
variable is wrong, a line says so. `spans` is the one module that knows OpenTelemetry.
"""

import importlib
import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

Span = Any
SWITCHES = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
EXPORTERS = ("otlp", "console")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SPANS = "catchment.telemetry.spans"

logger = logging.getLogger(__name__)


class Carrier(Protocol):
    """Request headers; names in lower case."""

    def get(self, key: str, default: Any = None) -> Any: ...


class Tracing(Protocol):
    """One process's spans. None of it raises or waits for the network, but `close`, for a few seconds at most."""

    def begin_request(self, headers: Carrier, *, method: str, scheme: str, route: str) -> Span:
        """A request to the edge, below the client's span where `traceparent` tells one. `route` is a template or `""`,
        never a path: there may be a key in that."""
        ...

    def end_request(self, span: Span, status: int, attributes: Mapping[str, Any]) -> None:
        """It was answered with this status; 0 where the client left before."""
        ...

    def insert(self, lines: bytes) -> AbstractContextManager[None]:
        """An insert into the store, while the context lasts; its exception is noted and goes on."""
        ...

    def query(self, endpoint: str) -> AbstractContextManager[None]:
        """A query by this endpoint of the core, while the context lasts; without its text, where anything may be."""
        ...

    def close(self) -> None:
        """Sends what waits."""
        ...


def open_tracing(part: str, environment: Mapping[str, str], *, speaks: bool) -> Tracing | None:
    """The tracing of this process, which is the `edge` or the `core`; None where it is off, or cannot be. Of all
    processes, one `speaks`."""
    switch = next((name for name in SWITCHES if environment.get(name, "").strip()), None)
    if switch is None or environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    exporters = {name.strip().lower() for name in environment.get("OTEL_TRACES_EXPORTER", "otlp").split(",")} - {""}
    level = logging.WARNING if speaks else logging.DEBUG
    if exporters == {"none"}:
        return None
    if unknown := exporters - set(EXPORTERS):
        _tell(level, f"OTEL_TRACES_EXPORTER names {', '.join(sorted(unknown))}; use {' or '.join(EXPORTERS)}, or none")
        return None
    protocol = next((environment[name] for name in _PROTOCOLS if environment.get(name)), "http/protobuf")
    if "otlp" in exporters and protocol != "http/protobuf":
        _tell(level, f"the OTLP protocol is {protocol!r}; set OTEL_EXPORTER_OTLP_PROTOCOL to http/protobuf")
        return None
    try:
        spans = importlib.import_module(_SPANS)  # by name, for it imports what need not be installed
        tracing: Tracing = spans.OpenTelemetryTracing(part, exporters or {"otlp"}, environment)
    except ImportError as error:
        _tell(
            level,
            f"{switch} is set, but {error.name} is not installed; `.venv/bin/pip install '.[otel]'`, or unset it",
        )
        return None
    except (ValueError, TypeError) as error:
        _tell(level, f"a variable of OpenTelemetry is wrong: {error}")
        return None
    return tracing


def _tell(level: int, sentence: str) -> None:
    logger.log(level, "tracing is off: %s", sentence)
