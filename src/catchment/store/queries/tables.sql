-- What each table of the store takes on the disk, in its parts that are in use; the largest first.
SELECT name AS table, ifNull(total_rows, 0) AS rows, ifNull(total_bytes, 0) AS bytes
FROM system.tables
WHERE database = 'catchment' AND engine LIKE '%MergeTree' AND bytes > 0
ORDER BY bytes DESC, table
