"""What an edge process notices of its requests: their ids, and its figures, which outlive it."""

import logging
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from catchment import maintenance, wiring
from catchment.dialects.dialect import Answer
from catchment.dialects.moesif.dialect import PREFLIGHT
from catchment.edge.observer import Observer, template
from catchment.errors import LogUnavailable
from catchment.settings import Settings
from catchment.telemetry import files
from catchment.telemetry.files import Snapshot
from tests.conftest import AppOf, Server, until
from tests.edge.test_app import KEY, Edge, Exchange, edge, post

__all__ = ["edge"]  # the fixture


def counter(observer: Observer, name: str) -> dict[tuple[str, ...], float]:
    return dict(observer.snapshot().counters[name])


def id_of(exchange: Exchange) -> str:
    [found] = [value for name, value in exchange.answer_headers if name == "x-request-id"]
    return found


class TestRequestId:
    @pytest.mark.parametrize(
        "given", ["a", "01J-x_.~".replace("~", ""), "Root=1-67891233-abcdef", "a/b:c+d@e", "x" * 128]
    )
    async def test_of_the_client_is_given_back(self, edge: Edge, given: str) -> None:
        exchange = post(1)
        exchange.headers["x-request-id"] = given
        await edge.send(exchange)
        assert id_of(exchange) == given

    @pytest.mark.parametrize("given", ["", "x" * 129, "a b", "a\nb", "é", "a,b", '"a"', "<a>"])
    async def test_that_is_none_is_replaced(self, edge: Edge, given: str) -> None:
        exchange = post(1)
        exchange.headers["x-request-id"] = given
        await edge.send(exchange)
        assert re.fullmatch(r"[0-9a-f]{12}-[0-9a-f]+", id_of(exchange))

    async def test_is_another_for_each_request(self, edge: Edge) -> None:
        exchanges = [post(1), Exchange("GET", "/health/live"), Exchange("GET", "/open"), post(1)]
        for exchange in exchanges:
            await edge.send(exchange)
        assert len({id_of(exchange) for exchange in exchanges}) == 4

    async def test_of_a_refusal_leads_to_what_was_kept_of_it(
        self, edge: Edge, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        without = Exchange("POST", "/post", b"1", query="refuse", headers=dict(KEY))
        await edge.send(without)
        assert id_of(without) == edge.log.lines()[0]["event_id"]
        assert caplog.records == []
        given = Exchange("POST", "/post", b"1", query="refuse", headers=KEY | {"x-request-id": "mine"})
        await edge.send(given)
        assert id_of(given) == "mine"
        [told] = [vars(record) for record in caplog.records]
        assert (told["request_id"], told["rejection_id"]) == ("mine", edge.log.lines()[0]["event_id"])

    async def test_stands_in_the_line_about_a_failure(self, edge: Edge, caplog: pytest.LogCaptureFixture) -> None:
        exchange = post(1)
        await edge.send(exchange, LogUnavailable("disk full", cause="disk"))
        [told] = [vars(record) for record in caplog.records]
        assert told["request_id"] == id_of(exchange)

    async def test_stands_in_the_line_about_a_defect_and_what_was_sent_does_not(
        self, edge: Edge, caplog: pytest.LogCaptureFixture
    ) -> None:
        exchange = Exchange("POST", "/post", b"SECRET", headers=dict(KEY))  # the vendor of this test wants a number
        assert (await edge.send(exchange)) == (500, b"internal error; the request was not stored")
        [told] = caplog.records
        assert vars(told)["request_id"] == id_of(exchange)
        assert "ValueError at edge/test_app.py:" in caplog.text
        assert "SECRET" not in caplog.text

    async def test_may_be_read_by_pages_where_pages_may_call(self, edge: Edge, app: AppOf) -> None:
        exchange = post(1)
        await edge.send(exchange)
        assert "access-control-expose-headers" not in dict(exchange.answer_headers)
        for body in ({"action_name": "A", "request": {}}, {}):
            answer = app.moesif("/v1/actions", body)
            assert "x-request-id" in answer.headers["access-control-expose-headers"].split(", ")
            assert answer.headers["x-request-id"]
        allowed = dict(PREFLIGHT.headers)["access-control-allow-headers"].split(", ")
        assert {"x-request-id", "traceparent", "tracestate"} <= set(allowed)

    def test_is_in_every_answer_of_both_ports(self, server: Server, app: AppOf) -> None:
        for url in (
            *(server.ingest + path for path in ("/health/live", "/health/ready", "/favicon.ico", "/v1/config")),
            *(server.console + path for path in ("/health/live", "/api/status", "/nothing", "/metrics")),
        ):
            answers = [server.http.get(url, headers=given) for given in ({}, {"x-request-id": "mine-7"})]
            assert answers[0].headers["x-request-id"] != answers[1].headers["x-request-id"] == "mine-7", url


class TestFigures:
    async def test_requests_are_counted_by_route_and_class(self, edge: Edge) -> None:
        for exchange in (
            post(1),
            post(2),
            Exchange("GET", "/open"),
            Exchange("POST", "/post", b"1"),
            Exchange("GET", "/nowhere", headers=dict(KEY)),
            Exchange("GET", "/health/ready"),
        ):
            await edge.send(exchange)
        await edge.send(post(1), LogUnavailable("disk full", cause="disk"))
        assert counter(edge.observer, "catchment_http_requests_total") == {
            ("vendor", "post", "2xx"): 2,
            ("vendor", "post", "4xx"): 1,
            ("vendor", "post", "5xx"): 1,
            ("vendor", "open", "2xx"): 1,
            ("vendor", "unknown", "4xx"): 1,
            ("none", "health", "2xx"): 1,
        }
        seconds = {
            labels: (sum(counts), total)
            for labels, counts, total in edge.observer.snapshot().histograms["catchment_http_request_duration_seconds"]
        }
        assert seconds["vendor", "post"][0] == 4
        assert seconds["vendor", "post"][1] > 0

    async def test_events_and_their_bytes_are_counted_once_they_are_durable(self, edge: Edge) -> None:
        await edge.send(post(3))
        await edge.send(post(20))
        await edge.send(post(5), LogUnavailable("disk full", cause="disk"))
        assert counter(edge.observer, "catchment_events_accepted_total") == {("shop", "vendor"): 23}
        assert counter(edge.observer, "catchment_accepted_bytes_total") == {("shop", "vendor"): len("3") + len("20")}
        assert counter(edge.observer, "catchment_unavailable_total")["disk",] == 1

    async def test_refusals_are_counted_by_their_code(self, edge: Edge) -> None:
        for _ in range(2):
            await edge.send(Exchange("POST", "/post", b"1", query="refuse", headers=dict(KEY)))
        await edge.send(Exchange("POST", "/post", b"1"))
        assert counter(edge.observer, "catchment_rejections_total") == {
            ("vendor", "400", "malformed"): 2,
            ("vendor", "401", "key"): 1,
        }

    async def test_maintenance_is_no_refusal(self, edge: Edge, tmp_path: Path) -> None:
        maintenance.begin(tmp_path, "")
        edge.maintenance.look()
        await edge.send(post(1))
        assert counter(edge.observer, "catchment_unavailable_total")["maintenance",] == 1
        assert counter(edge.observer, "catchment_rejections_total") == {}

    async def test_a_client_that_leaves_is_gone(self, edge: Edge) -> None:
        task = edge.begin(post(1))
        until_open = dict(edge.observer.snapshot().gauges["catchment_http_open_requests"])
        task.cancel()
        for _ in range(3):
            await edge.send(Exchange("GET", "/open"))
        assert until_open == {("",): 0}  # the task has not begun
        under_way = edge.begin(post(1))
        await edge.send(Exchange("GET", "/open"))
        assert dict(edge.observer.snapshot().gauges["catchment_http_open_requests"]) == {("",): 1}
        under_way.cancel()
        await edge.send(Exchange("GET", "/open"))
        assert dict(edge.observer.snapshot().gauges["catchment_http_open_requests"]) == {("",): 0}
        assert counter(edge.observer, "catchment_http_requests_total")["vendor", "post", "gone"] == 1


class TestFile:
    async def test_the_next_process_of_the_name_counts_on(self, edge: Edge, tmp_path: Path) -> None:
        folder = tmp_path / "figures"
        first = Observer(folder)
        edge.app._observer = first
        first.open("edge-0", lambda: 7)
        await edge.send(post(3))
        await edge.send(Exchange("POST", "/post", b"1"))
        first.synced(4, 1000, 0.003)
        first.close()
        left = files.read_one(folder, "edge-0")
        assert left is not None
        assert dict(left.gauges["catchment_log_unsynced_bytes"]) == {("edge-0",): 7}
        second = Observer(folder)
        edge.app._observer = second
        second.open("edge-0", lambda: 0)
        await edge.send(post(3))
        second.synced(4, 1000, 0.003)
        second.close()
        found = files.read_one(folder, "edge-0")
        assert found is not None
        counters = {name: dict(samples) for name, samples in found.counters.items()}
        assert counters["catchment_events_accepted_total"] == {("shop", "vendor"): 6}
        assert counters["catchment_http_requests_total"] == {
            ("vendor", "post", "2xx"): 2,
            ("vendor", "post", "4xx"): 1,
        }
        assert counters["catchment_rejections_total"] == {("vendor", "401", "key"): 1}
        assert counters["catchment_log_appended_bytes_total"] == {(): 2000}
        assert counters["catchment_process_restarts_total"] == {("edge-0",): 1}
        [(_, counts, total)] = found.histograms["catchment_log_group_appends"]
        assert (sum(counts), total) == (2, 8.0)

    def test_of_another_version_is_left_behind_where_it_does_not_fit(self, tmp_path: Path) -> None:
        old: dict[str, Any] = {
            "counters": {"catchment_http_requests_total": [(("a", "b", "9xx"), 1.0)], "gone_total": [((), 1.0)]},
            "histograms": {"catchment_log_group_appends": [((), [1, 2], 3.0)]},
        }
        (tmp_path / "edge-0.json").write_bytes(msgspec.json.encode(Snapshot("edge-0", 1, 1, 0.0, **old)))
        (tmp_path / "edge-1.json").write_bytes(b"{")
        for process in ("edge-0", "edge-1"):
            observer = Observer(tmp_path)
            observer.open(process, lambda: 0)
            observer.close()
        assert [found.process for found in files.read_all(tmp_path)] == ["edge-0", "edge-1"]

    def test_that_cannot_be_written_is_told_once_and_fails_nothing(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(files, "WRITE_S", 3600.0)  # the observer's own thread would tell of it as well
        observer = Observer(tmp_path / "figures")
        observer.open("edge-0", lambda: 0)
        (tmp_path / "figures" / "edge-0.new").mkdir()
        file = files.FigureFile(tmp_path / "figures", "edge-0", observer.snapshot)
        for _ in range(3):
            file.write()
        assert caplog.text.count("metrics stand still until it can") == 1
        (tmp_path / "figures" / "edge-0.new").rmdir()
        observer.close()
        until(lambda: files.read_one(tmp_path / "figures", "edge-0") is not None, within_s=20)

    def test_no_folder_for_it_is_told_and_fails_nothing(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        (tmp_path / "figures").write_text("")
        observer = Observer(tmp_path / "figures")
        observer.open("edge-0", lambda: 0)
        observer.close()
        assert "the edge has no metrics" in caplog.text


def test_the_template_of_a_route_has_no_part_that_a_sender_chose(edge: Edge) -> None:
    settings: Settings = edge.settings
    found = {template(route) for dialect in wiring.dialects(settings) for route in dialect.routes}
    assert found >= {
        "/v1/actions/batch",
        "/1.0/{api_key}/events/users",
        "/1.0/{api_key}/events/users/{user_id}",
        "/rmp/event/v1/platforms/{platform}/userevents",
        "/t/c/{platform}",
        "/cdp/SEGMENT",
    }
    assert not [route for route in found if re.search(r"[\\^$?()]", route)]


def test_an_answer_is_not_changed_by_its_id(edge: Edge) -> None:
    answer = Answer(200, [("a", "b")], b"")
    scope: Any = Exchange("GET", "/open")
    headers = edge.observer.headers(edge.observer.begin(scope), answer)
    assert headers[:1] == [("a", "b")]
    assert answer.headers == [("a", "b")]
