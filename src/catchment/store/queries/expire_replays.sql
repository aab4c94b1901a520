-- Removes the marks that a refused call was decoded again (see expire_counts.sql).
ALTER TABLE catchment.replay_rows
    DELETE WHERE toUnixTimestamp(replayed_at) < transform(if(app = '', '', concat(app, '/', source)), {names:Array(String)}, {rejections:Array(UInt32)}, 0)
SETTINGS mutations_sync = 0
