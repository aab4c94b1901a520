-- Removes refused calls (see expire_counts.sql).
ALTER TABLE catchment.rejection_rows
    DELETE WHERE received_at < toDateTime64({rejections_latest:UInt32}, 6, 'UTC')
        AND toUnixTimestamp(received_at) < transform(if(app = '', '', concat(app, '/', source)), {names:Array(String)}, {rejections:Array(UInt32)}, 0)
SETTINGS mutations_sync = 0
