-- The two sides of the books (docs/decisions/0007). What the edge says that it appended: each process tells its total so
-- far, so the largest counts, however often a line is loaded.
CREATE TABLE catchment.edge_tallies
(
    app LowCardinality(String),
    source LowCardinality(String),
    minute DateTime('UTC'),
    edge String,
    tally SimpleAggregateFunction(max, UInt64)
)
ENGINE = AggregatingMergeTree
ORDER BY (app, source, minute, edge)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW catchment.log_to_edge_tallies TO catchment.edge_tallies AS
SELECT
    app,
    source,
    toStartOfMinute(fromUnixTimestamp64Micro(toInt64(received_us), 'UTC')) AS minute,
    edge,
    max(catchment.log.tally) AS tally
FROM catchment.log
WHERE edge != ''
GROUP BY app, source, minute, edge;

-- And what came out of the log: a row for each record but rejections, whatever becomes of it in the other tables.
-- `key` is the identity of an event (docs/decisions/0002), and `event` whether it is one.
CREATE TABLE catchment.deliveries
(
    app LowCardinality(String),
    source LowCardinality(String),
    received_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    key UInt64 CODEC(NONE),
    event Bool
)
ENGINE = ReplacingMergeTree
ORDER BY (app, source, received_at, key)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW catchment.log_to_deliveries TO catchment.deliveries AS
SELECT
    app,
    source,
    fromUnixTimestamp64Micro(toInt64(received_us), 'UTC') AS received_at,
    cityHash64(app, source, if(undated, toDate32(0), toDate32(time)), platform, event_id) AS key,
    kind IN ('action', 'api_call', 'event') AS event
FROM catchment.log
WHERE kind IN ('action', 'api_call', 'event', 'user', 'company', 'subscription');
