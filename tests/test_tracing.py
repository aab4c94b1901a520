"""Traces, as a collector gets them: a small one of this test's, which takes OTLP over HTTP."""

import logging
import os
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from catchment.telemetry import tracing
from catchment.telemetry.tracing import open_tracing
from tests.conftest import AppOf, Server, until, write_apps

WITHIN_S = 60.0
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ACTION = {"action_name": "A", "user_id": "u", "request": {}}
KINDS = {2: "server", 3: "client"}


class Collector:
    """Takes what is exported to `/v1/traces` and keeps it."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []
        spans = self.spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert (self.path, self.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
                body = self.rfile.read(int(self.headers["content-length"]))
                spans.extend(read(ExportTraceServiceRequest.FromString(body)))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def named(self, name: str) -> list[dict[str, Any]]:
        return [span for span in list(self.spans) if span["name"] == name]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def read(request: ExportTraceServiceRequest) -> Iterator[dict[str, Any]]:
    """Each span with its attributes, and its resource's behind `resource.`."""
    for of_resource in request.resource_spans:
        resource = {f"resource.{pair.key}": plain(pair.value) for pair in of_resource.resource.attributes}
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                yield (
                    {
                        "name": span.name,
                        "kind": KINDS[span.kind],
                        "trace": span.trace_id.hex(),
                        "parent": span.parent_span_id.hex(),
                        "failed": span.status.code == 2,
                        "seconds": (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                    }
                    | {pair.key: plain(pair.value) for pair in span.attributes}
                    | resource
                )


def plain(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def test_a_collector_gets_requests_inserts_and_queries(tmp_path: Path, collector: Collector) -> None:
    write_apps(tmp_path, ["default"])
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    server = Server(tmp_path, "--workers", "1", environment=environment)
    try:
        app = AppOf(server, "default")
        traced = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": "mine"}
        assert app.moesif("/v1/actions/batch", [ACTION] * 3, **traced).status_code == 201
        user = "/a-user-of-mine"
        assert app.post(app.batch_path + user, {"events": [{"name": "ue.a"}]}, app.batch_headers).status_code == 201
        assert app.post("/1.0/KEY-0123456789/events/users", {}, app.batch_headers).status_code == 401
        assert app.moesif("/v1/nothing", {}).status_code == 404
        app.events(4)
        assert uses_protobuf(server)
        assert server.api.post("/api/sql", json={"query": "SELECT a_secret FROM nowhere"}).status_code == 400
        until(lambda: any(span["failed"] for span in collector.named("SELECT sql")), within_s=WITHIN_S)
        until(lambda: bool(collector.named("INSERT log")), within_s=WITHIN_S)
        until(lambda: bool(collector.named("POST")), within_s=WITHIN_S)
    finally:
        assert server.stop() == 0

    [batch] = collector.named("POST /v1/actions/batch")
    assert batch.pop("seconds") >= batch.pop("catchment.log.wait_seconds") > 0
    assert batch.pop("http.request.body.size") > 100
    resource = {name: batch.pop(name) for name in list(batch) if name.startswith("resource.")}
    assert resource["resource.service.name"] == "catchment"
    assert resource["resource.catchment.part"] == "edge"
    assert batch == {
        "name": "POST /v1/actions/batch",
        "kind": "server",
        "trace": TRACE,
        "parent": PARENT,
        "failed": False,
        "http.request.method": "POST",
        "http.route": "/v1/actions/batch",
        "url.path": "/v1/actions/batch",
        "url.scheme": "http",
        "http.response.status_code": 201,
        "catchment.app": "default",
        "catchment.source": "moesif",
        "catchment.endpoint": "actions_batch",
        "catchment.events": 3,
        "catchment.request_id": "mine",
    }
    [single] = collector.named("POST /1.0/{api_key}/events/users/{user_id}")
    assert (single["parent"], single["catchment.source"]) == ("", "batch")
    [refused] = collector.named("POST /1.0/{api_key}/events/users")
    assert (refused["http.response.status_code"], refused["failed"]) == (401, False)  # the fault is the client's
    [unknown] = collector.named("POST")
    assert unknown["http.response.status_code"] == 404
    inserts = collector.named("INSERT log")
    assert sum(span["catchment.log.records"] for span in inserts) >= 4
    assert {span["resource.catchment.part"] for span in inserts} == {"core"}
    assert {span["db.system.name"] for span in inserts} == {"clickhouse"}
    assert {span.get("error.type") for span in collector.named("SELECT sql")} == {None, "QueryError"}
    told = repr(collector.spans)
    for text in (
        "a_secret",
        "KEY-0123456789",
        "a-user-of-mine",
        *app.keys["moesif"].values(),
        app.keys["batch"]["live"],
    ):
        assert text not in told
    assert "GET" not in told  # no health checks


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_SERVICE_NAME": "x"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "TRUE"},
        {"OTEL_TRACES_EXPORTER": " "},
    ],
)
def test_it_is_off_unless_it_is_asked_for(environment: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    assert open_tracing("edge", environment, speaks=True) is None
    assert caplog.records == []


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER names zipkin; use otlp or console, or none"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "the OTLP protocol is 'grpc'; set OTEL_EXPORTER_OTLP_PROTOCOL to http/protobuf",
        ),
    ],
)
def test_what_it_cannot_do_is_told_by_one(
    environment: dict[str, str], sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert open_tracing("edge", environment, speaks=False) is None
    assert caplog.records == []
    assert open_tracing("core", environment, speaks=True) is None
    assert sentence in caplog.text


def test_a_package_that_is_missing_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)  # what Python does where there is none
    monkeypatch.delitem(sys.modules, tracing._SPANS, raising=False)
    assert open_tracing("core", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, speaks=True) is None
    assert "OTEL_EXPORTER_OTLP_ENDPOINT is set, but opentelemetry is not installed; " in caplog.text
    assert "; `.venv/bin/pip install '.[otel]'`, or unset it" in caplog.text


def test_nothing_of_it_is_imported_while_it_is_off(server: Server) -> None:
    assert not uses_protobuf(server)


def uses_protobuf(server: Server) -> bool:
    """Whether an edge process or the core has loaded what spans are exported with."""
    pids = [pid for part in ("edge", "core") for pid in server.parts(part)]
    return any("/_upb/" in Path(f"/proc/{pid}/maps").read_text() for pid in pids)


def test_a_collector_that_is_away_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging, "lastResort", None)  # its thread may still have something to say afterwards
    for name, value in (("ENDPOINT", "http://127.0.0.1:9"), ("TIMEOUT", "1")):
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value)
    found = open_tracing("edge", os.environ, speaks=True)
    assert found is not None
    for _ in range(5000):  # more than the queue has room for
        found.end_request(found.begin_request({}, method="POST", scheme="http", route="/"), 201, {})
    with pytest.raises(KeyError), found.insert(b"a\n"):
        raise KeyError
    found.close()
