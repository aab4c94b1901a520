"""The metrics that processes counted themselves, put together from their files, and the core's own."""

import os
import platform
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as PrometheusMetric

from catchment import __version__
from catchment.api.queries import Queries
from catchment.loader import Progress
from catchment.telemetry import catalogue, files
from catchment.telemetry.figures import SECONDS, Family, Histogram, Labels
from catchment.telemetry.memory import resident_bytes

GONE_AFTER_S = 60.0  # a process writes its file each second; one that has not for so long is not there

BUILD = Family("catchment_build_info", "gauge", "1, for the version that runs", ("version", "python"))
MEMORY = Family(
    "catchment_process_resident_memory_bytes",
    "gauge",
    "Resident memory of each process; what they share is in each",
    ("process",),
)
LOADED_RECORDS = Family("catchment_loader_records_total", "counter", "Records that were put into the store")
LOADED_BYTES = Family("catchment_loader_bytes_total", "counter", "Bytes of these records in the log")
INSERT_SECONDS = Family(
    "catchment_loader_insert_duration_seconds", "histogram", "Time that one insert into the store took", (), SECONDS
)
FAILED_INSERTS = Family("catchment_loader_failed_inserts_total", "counter", "Inserts that the store did not take")
UNLOADABLE = Family(
    "catchment_loader_unloadable_records_total",
    "counter",
    "Records that the store could not take; each is kept as a rejection",
)
QUERIES = Family(
    "catchment_queries_total",
    "counter",
    "Queries over the console's API; `refused` is the asker's fault, `failed` is ours",
    ("endpoint", "outcome"),
)
QUERY_SECONDS = Family(
    "catchment_query_duration_seconds",
    "histogram",
    "Time from a query's start to its answer, the wait for a free handle included",
    ("endpoint",),
    SECONDS,
)
CORE = (
    BUILD,
    MEMORY,
    LOADED_RECORDS,
    LOADED_BYTES,
    INSERT_SECONDS,
    FAILED_INSERTS,
    UNLOADABLE,
    QUERIES,
    QUERY_SECONDS,
)


def counted(folder: Path, progress: Progress, queries: Queries) -> Iterator[PrometheusMetric]:
    """The families of `catalogue.COUNTED` and `CORE`, each with the samples that there are."""
    snapshots = list(files.read_all(folder))
    living = [found for found in snapshots if _lives(found)]
    for family in catalogue.COUNTED:
        if family.kind == "counter":
            yield _counter(family, _summed(family.name, snapshots).items())
        elif family.kind == "gauge":
            yield _gauge(family, (sample for found in living for sample in found.gauges.get(family.name, ())))
        else:
            yield _histogram(family, _merged(family, snapshots).items())
    yield from _of_core(living, progress, queries)


def _of_core(living: list[files.Snapshot], progress: Progress, queries: Queries) -> Iterator[PrometheusMetric]:
    yield _gauge(BUILD, [((__version__, platform.python_version()), 1.0)])
    yield _gauge(MEMORY, _memory(living))
    yield _counter(LOADED_RECORDS, [((), progress.records)])
    yield _counter(LOADED_BYTES, [((), progress.bytes)])
    yield _histogram(INSERT_SECONDS, [((), progress.inserts)])
    yield _counter(FAILED_INSERTS, [((), progress.failed_inserts)])
    yield _counter(UNLOADABLE, [((), progress.unloadable_lines)])
    yield _counter(QUERIES, list(queries.counts.values.items()))
    yield _histogram(QUERY_SECONDS, [((name,), seconds) for name, seconds in list(queries.seconds.items())])


def _lives(found: files.Snapshot) -> bool:
    """Whether its process is there; a supervisor writes only when something happens."""
    if found.process == "supervisor":
        return resident_bytes(found.pid) is not None
    return time.time() - found.written_at < GONE_AFTER_S and resident_bytes(found.pid) is not None


def _memory(living: Iterable[files.Snapshot]) -> Iterator[tuple[Labels, float]]:
    pids = {"core": os.getpid()}
    for found in living:
        pids[found.process] = found.pid
        if found.process != "supervisor":
            pids["edge"] = found.parent_pid
    for process, pid in pids.items():
        size = resident_bytes(pid)
        if size is not None:
            yield (process,), size


def _summed(name: str, snapshots: Iterable[files.Snapshot]) -> dict[Labels, float]:
    totals: dict[Labels, float] = {}
    for found in snapshots:
        for labels, value in found.counters.get(name, ()):
            totals[labels] = totals.get(labels, 0) + value
    return totals


def _merged(family: Family, snapshots: Iterable[files.Snapshot]) -> dict[Labels, Histogram]:
    merged: dict[Labels, Histogram] = {}
    for found in snapshots:
        for labels, counts, total in found.histograms.get(family.name, ()):
            if len(counts) == len(family.bounds) + 1:
                merged.setdefault(labels, Histogram(family.bounds)).add(counts, total)
    return merged


def _counter(family: Family, samples: Iterable[tuple[Labels, float]]) -> PrometheusMetric:
    told = CounterMetricFamily(family.name, family.help, labels=family.labels)
    for labels, value in samples:
        told.add_metric(labels, value)
    return told


def _gauge(family: Family, samples: Iterable[tuple[Labels, float]]) -> PrometheusMetric:
    told = GaugeMetricFamily(family.name, family.help, labels=family.labels)
    for labels, value in samples:
        told.add_metric(labels, value)
    return told


def _histogram(family: Family, samples: Iterable[tuple[Labels, Histogram]]) -> PrometheusMetric:
    told = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    for labels, histogram in samples:
        buckets, below = [], 0
        for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
            below += count
            buckets.append(("+Inf" if bound == float("inf") else str(bound), below))
        told.add_metric(labels, buckets, histogram.sum)
    return told
