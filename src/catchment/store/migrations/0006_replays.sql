-- Which refusals were decoded again: a line of kind `replay`, in the same append as the records that came of it.
ALTER TABLE catchment.log ADD COLUMN IF NOT EXISTS records UInt32;
ALTER TABLE catchment.log ADD COLUMN IF NOT EXISTS fix String;

-- One row a rejection, however often it was replayed; the first time counts.
CREATE TABLE catchment.replay_rows
(
    app LowCardinality(String),
    source LowCardinality(String),
    rejection_id String,
    replayed_at DateTime64(6, 'UTC'),
    records UInt32,
    fix String,
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (app, source, rejection_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW catchment.log_to_replays TO catchment.replay_rows AS
SELECT
    app,
    source,
    event_id AS rejection_id,
    fromUnixTimestamp64Micro(toInt64(received_us), 'UTC') AS replayed_at,
    records,
    fix,
    18446744073709551615 - received_us AS version
FROM catchment.log
WHERE kind = 'replay';
