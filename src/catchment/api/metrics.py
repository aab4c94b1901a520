"""What `GET /metrics` tells a Prometheus server; docs/metrics.md has the same table.

Three sorts of figures, in one answer:

- what the processes counted themselves (`telemetry.catalogue`), the edge's too, out of their files;
- `FRESH`, which cost next to nothing to look up, and are looked up at each scrape;
- `METRICS`, the figures of `overview`, which the store is asked for. Where that takes long they are kept for a while,
  so that a scrape every few seconds never takes more than a tenth of the time; and a scrape does not wait longer than
  `PATIENCE_S` for them, but tells the ones before.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.core import Metric as PrometheusMetric
from prometheus_client.registry import Collector

from catchment.telemetry import logs

CONTENT_TYPE = CONTENT_TYPE_LATEST
KEPT_TIMES = 10
PATIENCE_S = 3.0  # below the 10 s that a Prometheus server waits by default

Figures = dict[str, Any]
_Sample = tuple[list[str], float]
logger = logging.getLogger(__name__)


class Metric(NamedTuple):
    """A gauge; `samples` finds its values in the figures, each behind the values of the labels."""

    name: str
    help: str
    labels: list[str]
    samples: Callable[[Figures], list[_Sample]]


def _by_app(rows: list[dict[str, Any]], column: str) -> list[_Sample]:
    return [([row["app"], row["source"]], row[column]) for row in rows]


_APP = ["app", "source"]
DISK_PARTS = ("log_unread", "log_loaded", "log_aside", "store", "answers", "other")
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
    Metric("catchment_store_events", "Events in the store", _APP, lambda found: _by_app(found["rates"], "events")),
    Metric(
        "catchment_store_rejections",
        "Refused calls in the store",
        _APP,
        lambda found: _by_app(found["rates"], "rejections"),
    ),
    Metric(
        "catchment_store_bytes",
        "Bytes on disk of the store",
        [],
        lambda found: [([], found["disk"]["store_bytes"])],
    ),
    Metric(
        "catchment_disk_bytes",
        "Bytes on disk of the parts of the data dir",
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
FRESH = (
    Metric(
        "catchment_backlog_bytes",
        "Bytes in the log that are not in the store yet",
        [],
        lambda found: [([], found["unread_bytes"])],
    ),
    Metric(
        "catchment_lag_events",
        "Records in the log that are not in the store yet; about, where they take more than 16 MiB",
        [],
        lambda found: [([], found["unread_records"])],
    ),
    Metric("catchment_lag_seconds", "How far the store is behind", [], lambda found: [([], found["lag_seconds"])]),
    Metric(
        "catchment_loader_failing",
        "1 while nothing can be loaded into the store, else 0",
        [],
        lambda found: [([], float(found["failing"]))],
    ),
    Metric(
        "catchment_log_unreadable_folders",
        "Folders of the log that cannot be read now, so that what waits in them is not loaded; all else is",
        [],
        lambda found: [([], found["unreadable_folders"])],
    ),
    Metric("catchment_log_bytes", "Bytes that the log takes", [], lambda found: [([], found["log_bytes"])]),
    Metric(
        "catchment_log_unsynced_bytes_max",
        "Setting `log.unsynced_bytes_max`: bytes that may wait for an fsync in one edge process before it answers 503",
        [],
        lambda found: [([], found["unsynced_bytes_max"])],
    ),
    Metric(
        "catchment_disk_free_bytes",
        "Bytes that are free on the disk of the data dir",
        [],
        lambda found: [([], found["free_bytes"])],
    ),
    Metric(
        "catchment_room_seconds",
        "In how many seconds nothing will be accepted any more if the log grows on as now; absent while it does not",
        [],
        lambda found: [([], found["room"]["seconds_left"])] if found["room"]["seconds_left"] is not None else [],
    ),
    Metric("catchment_maintenance", "1 in maintenance, else 0", [], lambda found: [([], float(found["maintenance"]))]),
)


class Metrics:
    """The three sorts: `count` and `look` are quick, `gather` may take its time."""

    def __init__(
        self,
        gather: Callable[[], Figures],
        look: Callable[[], Figures],
        count: Callable[[], Iterable[PrometheusMetric]] = tuple,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._count = count
        self._look = look
        self._kept = Kept(lambda: _text(_gauges(METRICS, gather())), clock)

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return _text(self._count()) + _text(_gauges(FRESH, self._look())) + self._kept.text()


class Kept:
    """A text that takes long to make. One thread at a time makes it, and whoever asks waits for a while."""

    def __init__(self, make: Callable[[], bytes], clock: Callable[[], float]) -> None:
        self._make = make
        self._clock = clock
        self._lock = threading.Lock()
        self._making: threading.Thread | None = None
        self._text = b""
        self._fresh_until = float("-inf")

    def text(self) -> bytes:
        """The newest that there is; nothing where the first one takes longer than `PATIENCE_S`."""
        with self._lock:
            if self._making is None and self._clock() >= self._fresh_until:
                self._making = threading.Thread(target=self._remake, name="metrics", daemon=True)
                self._making.start()
            making = self._making
        if making is not None:
            making.join(PATIENCE_S)
        return self._text

    def _remake(self) -> None:
        started = self._clock()
        try:
            self._text = self._make()
        except Exception as error:  # what is not known any more is not told; the other metrics are
            self._text = b""
            logger.error("core: the store's metrics are not told: %s", logs.described(error))
        finally:
            now = self._clock()
            self._fresh_until = now + (now - started) * KEPT_TIMES
            self._making = None


class _Families(Collector):
    def __init__(self, families: Iterable[PrometheusMetric]) -> None:
        self._families = families

    def describe(self) -> list[PrometheusMetric]:
        return []  # or nothing could be registered before it was gathered

    def collect(self) -> Iterator[PrometheusMetric]:
        yield from self._families


def _gauges(metrics: Iterable[Metric], found: Figures) -> Iterator[GaugeMetricFamily]:
    for metric in metrics:
        family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, value in metric.samples(found):
            family.add_metric(labels, value)
        yield family


def _text(families: Iterable[PrometheusMetric]) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Families(families))
    return generate_latest(registry)
