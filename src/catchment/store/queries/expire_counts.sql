-- How many rows of each table are older than they are kept. `names` are 'app/source', and '' is what has no application;
-- beside each stands its moment in seconds since 1970, 0 where it is kept for ever; `..._latest` is the last of them.
SELECT
(
    SELECT count() FROM catchment.event_rows
    WHERE received_at < toDateTime64({events_latest:UInt32}, 6, 'UTC')
        AND toUnixTimestamp(received_at) < transform(if(app = '', '', concat(app, '/', source)), {names:Array(String)}, {events:Array(UInt32)}, 0)
) AS events,
(
    SELECT count() FROM catchment.event_rows
    WHERE received_at < toDateTime64({bodies_latest:UInt32}, 6, 'UTC') AND kind = 'api_call' AND notEmpty(payload)
        AND toUnixTimestamp(received_at) < transform(if(app = '', '', concat(app, '/', source)), {names:Array(String)}, {bodies:Array(UInt32)}, 0)
) AS bodies,
(
    SELECT count() FROM catchment.rejection_rows
    WHERE received_at < toDateTime64({rejections_latest:UInt32}, 6, 'UTC')
        AND toUnixTimestamp(received_at) < transform(if(app = '', '', concat(app, '/', source)), {names:Array(String)}, {rejections:Array(UInt32)}, 0)
) AS rejections,
(
    SELECT count() FROM catchment.replay_rows
    WHERE toUnixTimestamp(replayed_at) < transform(if(app = '', '', concat(app, '/', source)), {names:Array(String)}, {rejections:Array(UInt32)}, 0)
) AS replays,
(
    SELECT count() FROM catchment.deliveries
    WHERE received_at < toDateTime64({events_latest:UInt32}, 6, 'UTC')
        AND toUnixTimestamp(received_at) < transform(if(app = '', '', concat(app, '/', source)), {names:Array(String)}, {events:Array(UInt32)}, 0)
) AS deliveries,
(
    SELECT count() FROM catchment.edge_tallies
    WHERE toUnixTimestamp(minute) < transform(if(app = '', '', concat(app, '/', source)), {names:Array(String)}, {books:Array(UInt32)}, 0)
) AS tallies
