-- The views that there are, each with the digest of the text that it was made of.
SELECT name, comment
FROM system.tables
WHERE database = {database:String} AND engine = 'View'
