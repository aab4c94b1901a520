"""The metrics that processes count themselves, by name; docs/metrics.md has the same table.

The edge and the supervisor count in their own processes and leave their figures in files (`files`), from which the core
tells them. Labels have few values: what a sender can choose, a path or a User-Agent, is never one.
"""

from catchment.telemetry.figures import COUNTS, SECONDS, Family

REQUESTS = Family(
    "catchment_http_requests_total",
    "counter",
    "Requests that the edge answered, by the class of their status; `gone` where the client left within its body",
    ("source", "endpoint", "status"),
)
REQUEST_SECONDS = Family(
    "catchment_http_request_duration_seconds",
    "histogram",
    "From a request's head to its answer, the wait for the disk included",
    ("source", "endpoint"),
    SECONDS,
)
ACCEPTED_EVENTS = Family(
    "catchment_events_accepted_total",
    "counter",
    "Events and profile updates that were made durable for an answer of success",
    ("app", "source"),
)
ACCEPTED_BYTES = Family(
    "catchment_accepted_bytes_total",
    "counter",
    "Bytes of the bodies that they came in, without compression",
    ("app", "source"),
)
REJECTIONS = Family(
    "catchment_rejections_total",
    "counter",
    "Refused calls, kept or not, by the status and code of their answer",
    ("source", "status", "code"),
)
UNAVAILABLE = Family(
    "catchment_unavailable_total", "counter", "Calls that were answered 503, for the sender to try again", ("cause",)
)
FSYNC_SECONDS = Family(
    "catchment_log_fsync_duration_seconds",
    "histogram",
    "Time to write one group of appends to the log and to sync it",
    (),
    SECONDS,
)
GROUP_APPENDS = Family(
    "catchment_log_group_appends", "histogram", "Appends that one fsync made durable together", (), COUNTS
)
APPENDED_BYTES = Family(
    "catchment_log_appended_bytes_total", "counter", "Bytes of records that were appended to the log and synced"
)
FAILED_COMMITS = Family(
    "catchment_log_failed_commits_total", "counter", "Groups of appends that the log's disk did not take"
)
OPEN_REQUESTS = Family(
    "catchment_http_open_requests", "gauge", "Requests that have no answer yet, once a second", ("process",)
)
UNSYNCED_BYTES = Family(
    "catchment_log_unsynced_bytes", "gauge", "Bytes that wait for an fsync, once a second", ("process",)
)
RESTARTS = Family(
    "catchment_process_restarts_total", "counter", "Times that a process was started again since `serve`", ("process",)
)
SETTINGS_SOUND = Family(
    "catchment_settings_sound",
    "gauge",
    "1 while another start would take `catchment.toml`, 0 while it has a mistake and the next start would fail",
)

COUNTED = (
    REQUESTS,
    REQUEST_SECONDS,
    ACCEPTED_EVENTS,
    ACCEPTED_BYTES,
    REJECTIONS,
    UNAVAILABLE,
    FSYNC_SECONDS,
    GROUP_APPENDS,
    APPENDED_BYTES,
    FAILED_COMMITS,
    OPEN_REQUESTS,
    UNSYNCED_BYTES,
    RESTARTS,
    SETTINGS_SOUND,
)
