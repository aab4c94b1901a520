-- The parts of a table, each with the bytes that are in it.
SELECT path, bytes_on_disk AS bytes
FROM system.parts
WHERE database = 'catchment' AND table = {table:String} AND active AND rows > 0
