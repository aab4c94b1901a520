-- Refused is not lost: what the edge answered 4xx to, and why. `app` is '' where no key told the application.
CREATE TABLE catchment.rejection_rows
(
    app LowCardinality(String),
    source LowCardinality(String),
    rejection_id String,
    received_at DateTime64(6, 'UTC'),
    status UInt16,
    code LowCardinality(String),
    reason String,
    path String,
    method LowCardinality(String),
    route String,
    payload String CODEC(ZSTD(1)),
    payload_bytes UInt64,
    ip String,
    user_agent LowCardinality(String),
    calls UInt32
)
ENGINE = ReplacingMergeTree
PARTITION BY toYear(received_at)
ORDER BY (app, source, received_at, rejection_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW catchment.log_to_rejections TO catchment.rejection_rows AS
SELECT
    app,
    source,
    event_id AS rejection_id,
    fromUnixTimestamp64Micro(toInt64(received_us), 'UTC') AS received_at,
    ifNull(status, 0) AS status,
    code,
    reason,
    path,
    method,
    route,
    payload,
    payload_bytes,
    ip,
    user_agent,
    count AS calls
FROM catchment.log
WHERE kind = 'rejection';
