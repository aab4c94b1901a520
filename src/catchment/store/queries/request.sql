-- The events of one accepted request, by the token that it was answered with, in the order of the body.
SELECT
    time,
    name,
    user_id,
    label,
    tags,
    properties,
    dates,
    late,
    app,
    platform_key_kind,
    received_at,
    event_id
FROM events
WHERE request_token = {token:String} AND request_token != ''
ORDER BY received_at
