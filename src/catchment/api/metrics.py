"""What `GET /metrics` tells a Prometheus server: the figures of `overview`, in its text format.

docs/metrics.md has the same table. Where the figures take long to gather they are kept for a while, so that a scrape
every few seconds never takes more than a tenth of the time.
"""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST
KEPT_TIMES = 10

Figures = dict[str, Any]
_Sample = tuple[list[str], float]


class Metric(NamedTuple):
    """A gauge; `samples` finds its values in the figures, each behind the values of the labels."""

    name: str
    help: str
    labels: list[str]
    samples: Callable[[Figures], list[_Sample]]


def _by_app(rows: list[dict[str, Any]], column: str) -> list[_Sample]:
    return [([row["app"], row["source"]], row[column]) for row in rows]


_APP = ["app", "source"]
DISK_PARTS = ("log", "log_unread", "log_loaded", "log_aside", "store", "answers", "other", "free")
METRICS = (
    Metric(
        "catchment_ledger_difference",
        "Records by which the books of the last 24 hours do not balance; anything but 0 is an alarm",
        _APP,
        lambda found: _by_app(found["books"]["rows"], "difference"),
    ),
    Metric(
        "catchment_ledger_records",
        "Records of the last 24 hours: what the edge received, and what became of them",
        [*_APP, "outcome"],
        lambda found: [
            ([row["app"], row["source"], outcome], row[outcome])
            for row in found["books"]["rows"]
            for outcome in ("received", "stored", "duplicate", "rejected", "late")
        ],
    ),
    Metric("catchment_events", "Events in the store", _APP, lambda found: _by_app(found["rates"], "events")),
    Metric(
        "catchment_rejections", "Refused calls in the store", _APP, lambda found: _by_app(found["rates"], "rejections")
    ),
    Metric(
        "catchment_backlog_bytes",
        "Bytes in the log that are not in the store yet",
        [],
        lambda found: [([], found["lag"]["unread_bytes"])],
    ),
    Metric("catchment_lag_seconds", "How far the store is behind", [], lambda found: [([], found["lag"]["seconds"])]),
    Metric(
        "catchment_loader_failing",
        "1 while nothing can be loaded into the store, else 0",
        [],
        lambda found: [([], float(found["loader"]["failing_for_seconds"] is not None))],
    ),
    Metric(
        "catchment_unloadable_records",
        "Records that the store could not take since the start; each is kept as a rejection",
        [],
        lambda found: [([], found["loader"]["unloadable_lines"])],
    ),
    Metric(
        "catchment_disk_bytes",
        "Bytes on the disk of the data dir",
        ["what"],
        lambda found: [([what], found["disk"][f"{what}_bytes"]) for what in DISK_PARTS],
    ),
    Metric(
        "catchment_log_aside_files",
        "Files of the log that could not be read, and are kept for somebody to look at",
        [],
        lambda found: [([], found["disk"]["log_aside_files"])],
    ),
    Metric(
        "catchment_table_bytes",
        "Bytes of each table of the store",
        ["table"],
        lambda found: [([row["table"]], row["bytes"]) for row in found["disk"]["tables"]],
    ),
    Metric(
        "catchment_table_rows",
        "Rows of each table of the store, copies that are not merged yet among them",
        ["table"],
        lambda found: [([row["table"]], row["rows"]) for row in found["disk"]["tables"]],
    ),
)


class Metrics(Collector):
    """Gathers with `gather`, which may take its time."""

    def __init__(self, gather: Callable[[], Figures], clock: Callable[[], float] = time.monotonic) -> None:
        self._gather = gather
        self._clock = clock
        self._lock = threading.Lock()
        self._text = b""
        self._fresh_until = float("-inf")

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        with self._lock:
            started = self._clock()
            if started >= self._fresh_until:
                registry = CollectorRegistry()
                registry.register(self)
                self._text = generate_latest(registry)
                now = self._clock()
                self._fresh_until = now + (now - started) * KEPT_TIMES
            return self._text

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing is gathered to register."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """See `Collector`."""
        found = self._gather()
        for metric in METRICS:
            family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
            for labels, value in metric.samples(found):
                family.add_metric(labels, value)
            yield family
