-- Removes events, but for those that came again since, and of API calls what they carried; in one pass over the parts
-- (see expire_counts.sql).
ALTER TABLE catchment.event_rows
    DELETE WHERE received_at < toDateTime64({events_latest:UInt32}, 6, 'UTC')
        AND toUnixTimestamp(received_at) < transform(if(app = '', '', concat(app, '/', source)), {names:Array(String)}, {events:Array(UInt32)}, 0)
        AND cityHash64(app, source, day, platform, event_id) NOT IN (SELECT key FROM catchment.spared_events),
    UPDATE
        payload = '',
        request_headers = '',
        request_body = '',
        request_encoding = '',
        response_headers = '',
        response_body = '',
        response_encoding = ''
    WHERE received_at < toDateTime64({bodies_latest:UInt32}, 6, 'UTC') AND kind = 'api_call' AND notEmpty(payload)
        AND toUnixTimestamp(received_at) < transform(if(app = '', '', concat(app, '/', source)), {names:Array(String)}, {bodies:Array(UInt32)}, 0)
SETTINGS mutations_sync = 0
