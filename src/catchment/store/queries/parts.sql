-- The parts in use of all tables, each with the bytes that are in it.
SELECT path, table, bytes_on_disk
FROM system.parts
WHERE database = {database:String} AND active
