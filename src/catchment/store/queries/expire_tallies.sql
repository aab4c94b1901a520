-- Removes the edge's side of books that are closed (see expire_counts.sql).
ALTER TABLE catchment.edge_tallies
    DELETE WHERE toUnixTimestamp(minute) < transform(if(app = '', '', concat(app, '/', source)), {names:Array(String)}, {books:Array(UInt32)}, 0)
SETTINGS mutations_sync = 0
