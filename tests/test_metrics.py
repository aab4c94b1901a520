"""`GET /metrics` of a server with traffic: the page describes it, the alerts and the dashboard ask for what is there.

And it outlives the processes that it tells of.
"""

import json
import os
import platform
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from catchment import __version__
from tests.conftest import AppOf, Server, until, write_apps

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "metrics.md"
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "catchment.json"
WITHIN_S = 60.0
OTHERS = frozenset({"up"})  # what Prometheus itself knows of a target
WORDS = frozenset(
    "absent sum max min rate increase histogram_quantile predict_linear abs and by on group_left le without job"
    " for".split()
)
ACTION = {"action_name": "A", "user_id": "u", "request": {}}

_ROW = re.compile(r"^\| `(catchment_\w+)` \| (counter|gauge|histogram) \| ([^|]*) \| (.+) \|$", re.MULTILINE)
_SELECTOR = re.compile(r"\b(catchment_\w+)(?:\{([^}]*)\})?(\[[^\]]+\])?")
_GROUPING = re.compile(r"\b(?:by|on|without|group_left) \(([^)]*)\)")


class Told(NamedTuple):
    """A metric as the server tells it; `labels` of all its samples, without `le`."""

    kind: str
    help: str
    labels: frozenset[str]
    has_samples: bool


def told(text: str) -> dict[str, Told]:
    found = {}
    for family in text_string_to_metric_families(text):
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = frozenset(label for sample in family.samples for label in sample.labels) - {"le"}
        found[name] = Told(family.type, family.documentation, labels, bool(family.samples))
    return found


def value(server: Server, name: str, **labels: str) -> float:
    """The sum of the samples that have these labels."""
    samples = [
        sample
        for family in text_string_to_metric_families(server.api.get("/metrics").text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    return sum(sample.value for sample in samples)


@pytest.fixture(scope="module")
def metrics(server: Server, _app_names: Iterator[str]) -> dict[str, Told]:
    """The metrics once there was something of every sort."""
    app = AppOf(server, next(_app_names))
    assert app.moesif("/v1/actions", ACTION).status_code == 201
    assert app.moesif("/v1/actions", {}).status_code == 400
    app.events(1)  # which asks the console, too
    text = ""

    def all_there() -> bool:
        nonlocal text
        text = server.api.get("/metrics").text
        counted = f'catchment_events_accepted_total{{app="{app.name}"' in text and "catchment_rejections_total{" in text
        # A scrape does not wait long for what the store is asked for; and a log that just grew tells how long it lasts.
        return counted and "\ncatchment_table_rows{" in text and "\ncatchment_room_seconds " not in text

    until(all_there, within_s=WITHIN_S, otherwise=lambda: text)
    return told(text)


def test_the_page_has_every_metric_as_it_is_told_and_no_other(metrics: dict[str, Told]) -> None:
    described = {
        name: (kind, help, frozenset(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels, help in _ROW.findall(PAGE.read_text("utf-8"))
    }
    assert described.keys() == metrics.keys()
    for name, metric in metrics.items():
        kind, help, labels = described[name]
        assert (kind, help) == (metric.kind, metric.help), name
        assert not metric.has_samples or labels == metric.labels, name


def test_names_follow_the_conventions_of_prometheus(metrics: dict[str, Told]) -> None:
    for name, metric in metrics.items():
        assert re.fullmatch(r"catchment_[a-z_]+", name)
        assert name.endswith("_total") == (metric.kind == "counter"), name
        assert not re.search(r"_(ms|milliseconds|kb|mb|count|sum|bucket)$", name), name


def test_every_metric_has_a_sample_on_a_server_with_traffic(metrics: dict[str, Told]) -> None:
    assert [name for name, metric in metrics.items() if not metric.has_samples] == ["catchment_room_seconds"]


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text("utf-8"))["groups"] for rule in group["rules"]]


def targets() -> list[Any]:
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    return [
        pytest.param(target["expr"], target["legendFormat"], id=f"{panel['title']} {target['refId']}")
        for panel in panels
        for target in panel["targets"]
    ]


def check_expression(expression: str, metrics: dict[str, Told], shown: list[str]) -> None:
    """Fails where it asks for what is not there: metrics, labels, the rate of what is no counter. `shown` are the
    labels that are used of its result."""
    text = " ".join(expression.split())
    assert text.count("(") == text.count(")")
    present: set[str] = set()
    for name, matchers, window in _SELECTOR.findall(text):
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        metric = metrics[base if base in metrics and metrics[base].kind == "histogram" else name]
        present |= metric.labels
        assert set(re.findall(r"(\w+)\s*(?:!=|=~|!~|=)", matchers)) <= metric.labels, name
        of_counters = bool(window) and not text.startswith("predict_linear")
        assert of_counters == (metric.kind in ("counter", "histogram")), f"{name} is a {metric.kind}"
    grouped = {label for labels in _GROUPING.findall(text) for label in re.findall(r"\w+", labels)}
    assert grouped <= present | {"le"}
    left = grouped if re.search(r"\b(sum|max|min)\b", text) else present
    assert set(shown) <= left, f"{shown} of {left}"
    known = set(_SELECTOR.sub("", _GROUPING.sub("by", re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]', "", text))).split())
    unknown = set(re.findall(r"[a-z_]{2,}", " ".join(known))) - WORDS - OTHERS
    assert not unknown


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_is_there_and_says_what_to_do(rule: dict[str, Any], metrics: dict[str, Told]) -> None:
    texts = rule["annotations"]
    shown = re.findall(r"\$labels\.(\w+)", " ".join(texts.values()))
    check_expression(rule["expr"], metrics, shown)
    assert set(texts) == {"summary", "description"}
    assert rule["labels"]["severity"] in ("page", "ticket")


@pytest.mark.parametrize(("expression", "legend"), targets())
def test_a_panel_of_the_dashboard_asks_for_what_is_there(
    expression: str, legend: str, metrics: dict[str, Told]
) -> None:
    check_expression(expression, metrics, re.findall(r"\{\{(\w+)\}\}", legend))


def test_the_dashboard_is_one_that_grafana_can_import() -> None:
    board = json.loads(DASHBOARD.read_text("utf-8"))
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    squares = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(squares)) == len(squares)  # no panel lies over another
    assert max(x for x, _ in squares) < 24
    [variable] = board["templating"]["list"]
    assert {panel["datasource"]["uid"] for panel in panels} == {f"${{{variable['name']}}}"}
    assert all(panel["description"] for panel in panels)


def test_prometheus_can_read_every_expression() -> None:
    asked = [rule["expr"] for rule in alerts()] + [target.values[0] for target in targets()]
    assert len(asked) > 20
    for expression in asked:
        promql_parser.parse(expression.replace("$__rate_interval", "5m"))


def test_the_build_is_told(server: Server) -> None:
    assert f'catchment_build_info{{python="{platform.python_version()}",version="{__version__}"}} 1.0' in (
        server.api.get("/metrics").text
    )


def test_figures_outlive_an_edge_process_and_the_core(tmp_path: Path) -> None:
    write_apps(tmp_path, ["default"])
    server = Server(tmp_path, "--workers", "2")
    try:
        app = AppOf(server, "default")
        for number in range(6):
            assert app.moesif("/v1/actions", ACTION | {"transaction_id": str(number)}).status_code == 201
        accepted = {"name": "catchment_events_accepted_total", "app": "default"}
        until(lambda: value(server, **accepted) == 6, within_s=WITHIN_S)
        memory = "catchment_process_resident_memory_bytes"
        for process in ("supervisor", "edge", "edge-0", "edge-1", "core"):  # each tells of itself once a second
            until(lambda process=process: value(server, memory, process=process) > 10_000_000, within_s=WITHIN_S)  # type: ignore[misc]

        workers = [json.loads(path.read_bytes()) for path in (tmp_path / "figures").glob("edge-*.json")]
        for worker in workers:
            os.kill(worker["pid"], signal.SIGKILL)
        restarts = "catchment_process_restarts_total"
        until(lambda: sum(value(server, restarts, process=f"edge-{n}") for n in (0, 1)) == 2, within_s=WITHIN_S)
        assert value(server, **accepted) == 6
        until(lambda: taken(app), within_s=WITHIN_S)  # they are there, and may not listen yet
        until(lambda: value(server, **accepted) == 7, within_s=WITHIN_S)

        for pid in server.parts("core"):
            os.kill(pid, signal.SIGKILL)
        assert app.moesif("/v1/actions", ACTION).status_code == 201
        until(lambda: asked(server) and value(server, restarts, process="core") == 1, within_s=WITHIN_S)
        until(lambda: value(server, **accepted) == 8, within_s=WITHIN_S)
        server.rows_when(8, "SELECT 1 FROM events")
        until(lambda: value(server, "catchment_lag_events") == 0, within_s=WITHIN_S)
        assert value(server, "catchment_ledger_difference") == 0
    finally:
        assert server.stop() == 0
    restarted = Server(tmp_path, "--workers", "2")
    try:
        assert value(restarted, **accepted) == 0  # a new server counts from 0
    finally:
        assert restarted.stop() == 0


def taken(app: AppOf) -> bool:
    """Whether an event was accepted, where there may be nobody yet to be connected to."""
    try:
        return app.moesif("/v1/actions", ACTION).status_code == 201
    except httpx.ConnectError:
        return False


def asked(server: Server) -> bool:
    """Whether the core answers again."""
    try:
        return server.api.get("/health/ready").is_success
    except Exception:
        return False
