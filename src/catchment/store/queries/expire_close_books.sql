-- Closes the books before each moment (see expire_counts.sql): from here on the ledger does not show what came earlier.
INSERT INTO catchment.kept_from (app, source, books_from)
SELECT splitByChar('/', name)[1], splitByChar('/', name)[2], toDateTime(moment, 'UTC')
FROM (SELECT arrayJoin(arrayZip({names:Array(String)}, {books:Array(UInt32)})) AS pair, pair.1 AS name, pair.2 AS moment)
WHERE moment > 0
