-- The sums of the ledger over a span of time, to be compared after a restore.
SELECT
    sum(page.received) AS received,
    sum(page.stored) AS stored,
    sum(page.duplicate) AS duplicate,
    sum(page.rejected) AS rejected,
    sum(abs(page.difference)) AS difference
FROM (SELECT * FROM ledger WHERE minute >= {begin:DateTime} AND minute < {end:DateTime}) AS page
