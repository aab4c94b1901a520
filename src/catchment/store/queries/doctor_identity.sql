-- Visitors' events, and how many of them are nobody's by now (docs/decisions/0006).
SELECT
    'never_identified' AS code,
    app,
    source,
    countIf(user_id = '') AS found,
    argMaxIf(event_id, received_at, user_id = '') AS event_id,
    argMaxIf(name, received_at, user_id = '') AS name,
    concat(toString(uniqIf(anonymous_id, user_id = '')), ' visitors') AS detail
FROM events
WHERE received_at > now64(6) - INTERVAL {minutes:UInt32} MINUTE
    AND loaded_at > now64(6) - INTERVAL {minutes:UInt32} + 1 MINUTE
    AND anonymous_id != ''
    AND ({source:String} = '' OR source = {source:String})
    AND ({app:String} = '' OR app = {app:String})
GROUP BY app, source
HAVING found > 0
