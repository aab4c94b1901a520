-- What came in since some hours ago and what became of it, by application and source. `difference` adds up how far each
-- minute is out of balance, in whichever direction, and `since` is the first such minute, or ''.
SELECT
    app,
    source,
    sum(page.received) AS received,
    sum(page.stored) AS stored,
    sum(page.duplicate) AS duplicate,
    sum(page.rejected) AS rejected,
    sum(page.late) AS late,
    sum(abs(page.difference)) AS difference,
    if(difference = 0, '', toString(minIf(page.minute, page.difference != 0))) AS since
FROM (SELECT * FROM ledger WHERE minute >= now() - toIntervalHour({hours:UInt32})) AS page
GROUP BY app, source
ORDER BY app, source
