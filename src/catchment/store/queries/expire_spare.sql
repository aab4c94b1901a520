-- The identities of old events of which a copy came since, a share of them: those that leave `share` when divided by
-- `shares` (see expire_counts.sql).
INSERT INTO catchment.spared_events
SELECT DISTINCT key
FROM catchment.deliveries
WHERE event AND key % {shares:UInt32} = {share:UInt32}
    AND toUnixTimestamp(received_at) >= transform(if(app = '', '', concat(app, '/', source)), {names:Array(String)}, {events:Array(UInt32)}, 0)
    AND key IN
    (
        SELECT identity FROM
        (
            SELECT cityHash64(app, source, day, platform, event_id) AS identity
            FROM catchment.event_rows
            WHERE received_at < toDateTime64({events_latest:UInt32}, 6, 'UTC')
                AND toUnixTimestamp(received_at) < transform(if(app = '', '', concat(app, '/', source)), {names:Array(String)}, {events:Array(UInt32)}, 0)
        )
        WHERE identity % {shares:UInt32} = {share:UInt32}
    )
