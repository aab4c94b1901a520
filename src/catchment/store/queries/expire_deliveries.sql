-- Removes the store's side of books that are closed; as long as events are kept, for it tells which of them came again
-- (see expire_counts.sql).
ALTER TABLE catchment.deliveries
    DELETE WHERE received_at < toDateTime64({events_latest:UInt32}, 6, 'UTC')
        AND toUnixTimestamp(received_at) < transform(if(app = '', '', concat(app, '/', source)), {names:Array(String)}, {events:Array(UInt32)}, 0)
SETTINGS mutations_sync = 0
