-- The parts of tables that came a while ago or less, each with the bytes that are in it.
SELECT path, bytes_on_disk, table
FROM system.parts
WHERE database = {database:String} AND active AND modification_time > now() - toIntervalSecond({seconds:UInt32})
