"""What an edge process notices of its requests: figures, request ids, and spans where somebody traces.

A request costs about a microsecond here, so everything is a plain number or a short tuple, and what needs words or the
disk is done once a second by another thread (`telemetry.files`). Labels come from the routes, the settings and the
dialects' faults; nothing that a sender can choose becomes one.

Every answer carries `x-request-id`: the client's, where that is well formed, else one of this process. Where a
refusal is kept and the client gave no id, it is the rejection's, so that `catchment rejections --show` finds it.
"""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from granian.rsgi import Scope

from catchment.dialects.dialect import Answer, Dialect, Headers, Route
from catchment.edge.gate import Busy
from catchment.edge.routing import Match
from catchment.errors import LogUnavailable, Refused
from catchment.record import RejectionRecord
from catchment.telemetry import catalogue, files, logs
from catchment.telemetry.figures import SECONDS, Counter, Histogram, Labels
from catchment.telemetry.request_ids import HEADER, RequestIds, well_formed
from catchment.telemetry.tracing import Span, Tracing

NO_SOURCE, NO_ENDPOINT = "none", "unknown"
CAUSES = ("maintenance", "room", "busy", "disk", "unsynced_bytes")  # of an answer 503
GONE = 0  # in the place of a status: the client left before it was answered
_CLASSES = ("gone", "1xx", "2xx", "3xx", "4xx", "5xx")
_EXPOSED = ("access-control-expose-headers", HEADER)
_PARAMETER = re.compile(r"\(\?P<(\w+)>[^)]*\)")
_ANCHORS = re.compile(r"^\^|/?\??\\Z$")

logger = logging.getLogger(__name__)


class Sight:
    """One request as it is seen: who it is for, and since when. `request_id` is empty until somebody asks for it, the
    rest is what is so until it turns out otherwise; on the class, where it costs a request nothing."""

    request_id = ""
    source, endpoint, app = NO_SOURCE, NO_ENDPOINT, ""
    events = body_bytes = 0
    wait_s = 0.0
    exposed = False  # a page of a browser may read the answer
    span: Span | None = None

    def __init__(self, scope: Scope, headers: Headers) -> None:
        self.started = perf_counter()
        self.scope = scope
        self.headers = headers


class _Series:
    """Requests of one source and endpoint: how many by class of status, and how long they took."""

    __slots__ = ("classes", "seconds")

    def __init__(self) -> None:
        self.classes = [0] * len(_CLASSES)
        self.seconds = Histogram(SECONDS)


class Observer:
    """Of one edge process; all but what the log's thread tells is called on its event loop."""

    def __init__(self, folder: Path | None = None, tracing: Tracing | None = None) -> None:
        self._folder = folder
        self._tracing = tracing
        self._ids = RequestIds()
        self._series: dict[tuple[str, str], _Series] = {}
        self._counters = {
            family.name: Counter()
            for family in catalogue.COUNTED
            if family.kind == "counter" and family is not catalogue.REQUESTS
        }
        self._accepted_events = self._counters[catalogue.ACCEPTED_EVENTS.name]
        self._accepted_bytes = self._counters[catalogue.ACCEPTED_BYTES.name]
        self._fsyncs = Histogram(catalogue.FSYNC_SECONDS.bounds)
        self._groups = Histogram(catalogue.GROUP_APPENDS.bounds)
        self._open = 0
        self._unsynced_bytes: Callable[[], int] = int
        self._process = ""
        self._file: files.FigureFile | None = None

    # The process

    def open(self, process: str, unsynced_bytes: Callable[[], int]) -> None:
        """Goes on from what the process of this name counted before, and writes figures from now on. The name is that
        of its folder of the log, which one living process has."""
        self._process = process
        self._unsynced_bytes = unsynced_bytes
        self._begin_at_zero()
        if self._folder is None:
            return
        try:
            files.prepare(self._folder)
        except OSError as error:
            logger.warning("figures: %s cannot be made; the edge has no metrics until it can: %s", self._folder, error)
        if before := files.read_one(self._folder, process):
            self._go_on(before)
            self._counters[catalogue.RESTARTS.name].add((process,))
        self._file = files.FigureFile(self._folder, process, self.snapshot)
        self._file.start()

    def close(self) -> None:
        """Writes for the last time, and sends the spans that wait."""
        if self._file is not None:
            self._file.close()
        if self._tracing is not None:
            self._tracing.close()
        logs.tell_left_out()

    # A request

    def begin(self, scope: Scope) -> Sight:
        """A request has come; `end` must follow."""
        headers = scope.headers
        sight = Sight(scope, headers)
        self._open += 1
        given = headers.get(HEADER)
        if given is not None:
            sight.request_id = well_formed(given)
        return sight

    def matched(self, sight: Sight, match: Match) -> None:
        """Whose it is is known."""
        dialect = match.dialect
        sight.exposed = dialect.preflight is not None
        if not match.stray:
            sight.source = dialect.source
        if match.route is not None:
            sight.endpoint = match.route.endpoint
        if self._tracing is not None:
            route = template(match.route) if match.route else ""
            sight.span = self._tracing.begin_request(
                sight.headers, method=sight.scope.method, scheme=sight.scope.scheme, route=route
            )

    def request_id(self, sight: Sight) -> str:
        """The id of the request, made now if need be."""
        if not sight.request_id:
            sight.request_id = self._ids.new()
        return sight.request_id

    def headers(self, sight: Sight, answer: Answer) -> list[tuple[str, str]]:
        """Those of the answer, and the request id, which pages of a browser may read."""
        if sight.exposed:
            return [*answer.headers, (HEADER, self.request_id(sight)), _EXPOSED]
        return [*answer.headers, (HEADER, self.request_id(sight))]

    def end(self, sight: Sight, status: int) -> None:
        """It was answered with this status, or the client is `GONE`."""
        self._open -= 1
        key = sight.source, sight.endpoint
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series()
        series.classes[status // 100] += 1
        series.seconds.observe(perf_counter() - sight.started)
        if sight.span is not None and self._tracing is not None:
            self._tracing.end_request(sight.span, status, _attributes(sight))

    # What becomes of it

    def accepted(
        self, sight: Sight, labels: tuple[str, str], *, events: int, body_bytes: int, waited_since: float
    ) -> None:
        """Its records are durable, of the application and source `labels`; they waited for the log from then on."""
        sight.wait_s = perf_counter() - waited_since
        sight.app, sight.events, sight.body_bytes = labels[0], events, body_bytes
        self._accepted_events.add(labels, events)
        self._accepted_bytes.add(labels, body_bytes)

    def refused(self, sight: Sight, refused: Refused, dialect: Dialect) -> None:
        """It was refused; 503 is no refusal of the call, but of any."""
        fault = refused.fault
        if fault.status == 503:
            self.unavailable("maintenance" if fault is dialect.faults.maintenance else "room")
        else:
            labels = sight.source, str(fault.status), str(fault.code)
            self._counters[catalogue.REJECTIONS.name].add(labels)

    def kept(self, sight: Sight, rejection: RejectionRecord) -> None:
        """The refusal goes into the log. Where the client has an id of its own, a line tells which one it became."""
        sight.app = rejection.app
        if not sight.request_id:
            sight.request_id = rejection.event_id
        else:
            logger.info(
                "edge: a call was refused and kept",
                extra={
                    "request_id": sight.request_id,
                    "rejection_id": rejection.event_id,
                    "source": rejection.source,
                    "status": rejection.status,
                    "code": rejection.code,
                },
            )

    def unavailable(self, cause: str) -> None:
        """It was answered 503; `cause` is one of a few words."""
        self._counters[catalogue.UNAVAILABLE.name].add((cause,))

    def busy(self, sight: Sight, busy: Busy) -> None:
        """Too much is under way. The line gets the text alone: the error knows what has come of the body."""
        self.unavailable("busy")
        logger.warning("edge: a call was answered 503: %s", str(busy), extra={"request_id": self.request_id(sight)})

    def log_unavailable(self, sight: Sight, error: LogUnavailable) -> None:
        """The log did not take its records."""
        self.unavailable(error.cause)
        logger.error("edge: nothing accepted: %s", error, extra={"request_id": self.request_id(sight)})

    def defect(self, sight: Sight, error: Exception) -> None:
        """Ours. What its text says may be out of a body, so only a traceback that somebody asks for has it."""
        told = {"request_id": self.request_id(sight), "source": sight.source, "endpoint": sight.endpoint}
        logger.error("edge: defect while answering: %s", logs.described(error), extra=told)
        logger.debug("edge: the traceback of that defect", exc_info=error, extra=told)

    # The log, from its own thread

    def synced(self, appends: int, size: int, seconds: float) -> None:
        """One group of appends is durable."""
        self._fsyncs.observe(seconds)
        self._groups.observe(appends)
        self._counters[catalogue.APPENDED_BYTES.name].add((), size)

    def failed(self) -> None:
        """The disk did not take a group."""
        self._counters[catalogue.FAILED_COMMITS.name].add(())

    # Figures

    def snapshot(self) -> files.Snapshot:
        """All figures, from any thread."""
        requests: list[tuple[Labels, float]] = []
        seconds: list[tuple[Labels, list[int], float]] = []
        for key, series in list(self._series.items()):
            requests += [((*key, name), n) for name, n in zip(_CLASSES, series.classes, strict=True) if n]
            seconds.append((key, list(series.seconds.counts), series.seconds.sum))
        counters = {name: list(counter.values.items()) for name, counter in self._counters.items()}
        return files.snapshot(
            self._process,
            counters=counters | {catalogue.REQUESTS.name: requests},
            gauges={
                catalogue.OPEN_REQUESTS.name: [((self._process,), self._open)],
                catalogue.UNSYNCED_BYTES.name: [((self._process,), self._unsynced_bytes())],
            },
            histograms={
                catalogue.REQUEST_SECONDS.name: seconds,
                catalogue.FSYNC_SECONDS.name: [((), list(self._fsyncs.counts), self._fsyncs.sum)],
                catalogue.GROUP_APPENDS.name: [((), list(self._groups.counts), self._groups.sum)],
            },
        )

    def _begin_at_zero(self) -> None:
        """Counters that are there before the first event, or nobody could see that it was one."""
        for cause in CAUSES:
            self._counters[catalogue.UNAVAILABLE.name].add((cause,), 0)
        for family in (catalogue.FAILED_COMMITS, catalogue.APPENDED_BYTES):
            self._counters[family.name].add((), 0)
        self._counters[catalogue.RESTARTS.name].add((self._process,), 0)

    def _go_on(self, before: files.Snapshot) -> None:
        """Counts on from there; figures that are counted no more, or otherwise, are left behind."""
        for (source, endpoint, name), value in before.counters.get(catalogue.REQUESTS.name, ()):
            if name in _CLASSES:
                self._of(source, endpoint).classes[_CLASSES.index(name)] += int(value)
        for (source, endpoint), counts, total in before.histograms.get(catalogue.REQUEST_SECONDS.name, ()):
            _add(self._of(source, endpoint).seconds, counts, total)
        for name, counter in self._counters.items():
            for labels, value in before.counters.get(name, ()):
                counter.add(labels, value)
        for family, histogram in ((catalogue.FSYNC_SECONDS, self._fsyncs), (catalogue.GROUP_APPENDS, self._groups)):
            for _, counts, total in before.histograms.get(family.name, ()):
                _add(histogram, counts, total)

    def _of(self, source: str, endpoint: str) -> _Series:
        return self._series.setdefault((source, endpoint), _Series())


def template(route: Route) -> str:
    """The path of a route with the names of its parameters in braces: `/1.0/{api_key}/events/users/{user_id}`."""
    if route.literals:
        return route.literals[0]
    plain = _PARAMETER.sub(r"{\1}", route.pattern.pattern)
    return _ANCHORS.sub("", plain).replace("\\.", ".")


def _attributes(sight: Sight) -> dict[str, str | int | float]:
    """What a span tells besides the request line."""
    found: dict[str, str | int | float] = {"catchment.source": sight.source, "catchment.endpoint": sight.endpoint}
    if sight.request_id:
        found["catchment.request_id"] = sight.request_id
    if sight.app:
        found["catchment.app"] = sight.app
    if sight.events:
        found |= {"catchment.events": sight.events, "http.request.body.size": sight.body_bytes}
        found["catchment.log.wait_seconds"] = sight.wait_s
    return found


def _add(histogram: Histogram, counts: list[int], total: float) -> None:
    if len(counts) == len(histogram.counts):
        histogram.add(counts, total)
