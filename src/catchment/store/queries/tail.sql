-- Events that became visible after a moment, oldest first; every filter may be ''. Without `after`, the last ten.
-- All rows of one insert have the same `loaded_at`, so a page never ends in the middle of one (WITH TIES).
SELECT loaded_at, time, app, source, kind, name, user_id, anonymous_id, event_id, late, status, properties
FROM
(
    SELECT *
    FROM catchment.events
    WHERE loaded_at > if({after:String} = '', now64(6) - INTERVAL 10 MINUTE, toDateTime64({after:String}, 6, 'UTC'))
        AND ({source:String} = '' OR source = {source:String})
        AND ({name:String} = '' OR name = {name:String})
        AND ({user_id:String} = '' OR user_id = {user_id:String})
    ORDER BY
        if({after:String} = '', -1, 1) * toUnixTimestamp64Micro(loaded_at),
        if({after:String} = '', -toUnixTimestamp64Micro(received_at), 0)
    LIMIT if({after:String} = '', 10, 10000) WITH TIES
)
ORDER BY loaded_at, received_at
