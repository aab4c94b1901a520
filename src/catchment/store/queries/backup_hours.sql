-- How many records came in each hour, so that the ledger can be added up in slices.
SELECT toString(toStartOfHour(received_at)) AS hour, count() AS n FROM deliveries GROUP BY hour ORDER BY hour
