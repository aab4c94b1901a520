-- How many parts are still there of those that a part was merged from.
SELECT count()
FROM system.parts AS old
INNER JOIN
(
    SELECT partition_id, min_block_number, max_block_number
    FROM system.parts
    WHERE database = {database:String} AND table = {table:String} AND name = {part:String}
) AS merged ON old.partition_id = merged.partition_id
WHERE old.database = {database:String} AND old.table = {table:String} AND NOT old.active AND old.name != {part:String}
    AND old.min_block_number >= merged.min_block_number AND old.max_block_number <= merged.max_block_number
