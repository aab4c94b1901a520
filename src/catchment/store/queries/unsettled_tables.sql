-- Tables that have not got this setting yet.
SELECT name
FROM system.tables
WHERE database = {database:String} AND engine LIKE '%MergeTree' AND NOT position(engine_full, {setting:String})
