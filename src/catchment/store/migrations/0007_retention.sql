-- What is removed by age (docs/decisions/0009). Before `books_from`, the ledger of an application's source is closed: its
-- events or rejections are being removed. It is written before the first row goes, so that whatever is killed in between
-- leaves no books that differ. `enforced_at` is when a removal came to its end; in the row of no application.
CREATE TABLE catchment.kept_from
(
    app LowCardinality(String),
    source LowCardinality(String),
    books_from SimpleAggregateFunction(max, DateTime('UTC')),
    enforced_at SimpleAggregateFunction(max, DateTime('UTC'))
)
ENGINE = AggregatingMergeTree
ORDER BY (app, source)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Identities of events that are old, but came again since; for the one removal that is under way.
CREATE TABLE catchment.spared_events
(
    key UInt64
)
ENGINE = MergeTree
ORDER BY key
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- A removal writes each part anew that holds a row of it. Parts hold what was loaded one after the other, so smaller
-- ones keep what a day's removal rewrites small. The part in whose place one was written is dropped within half a minute,
-- also where nothing arrives.
ALTER TABLE catchment.event_rows MODIFY SETTING max_bytes_to_merge_at_max_space_in_pool = 4294967296, cleanup_delay_period = 10, max_cleanup_delay_period = 20;
ALTER TABLE catchment.deliveries MODIFY SETTING max_bytes_to_merge_at_max_space_in_pool = 4294967296, cleanup_delay_period = 10, max_cleanup_delay_period = 20;
ALTER TABLE catchment.rejection_rows MODIFY SETTING max_bytes_to_merge_at_max_space_in_pool = 4294967296, cleanup_delay_period = 10, max_cleanup_delay_period = 20;
ALTER TABLE catchment.replay_rows MODIFY SETTING cleanup_delay_period = 10, max_cleanup_delay_period = 20;
ALTER TABLE catchment.edge_tallies MODIFY SETTING cleanup_delay_period = 10, max_cleanup_delay_period = 20;
