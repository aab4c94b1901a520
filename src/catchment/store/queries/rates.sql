-- What came in over the last minute and hour, by arrival, and ever; refused calls beside it.
SELECT
    app,
    source,
    sum(in_minute) AS events_last_minute,
    sum(in_hour) AS events_last_hour,
    sum(ever) AS events,
    sum(refused) AS rejections
FROM
(
    SELECT
        app,
        source,
        countIf(received_at > now64(6) - INTERVAL 1 MINUTE) AS in_minute,
        countIf(received_at > now64(6) - INTERVAL 1 HOUR) AS in_hour,
        count() AS ever,
        0 AS refused
    FROM catchment.events
    GROUP BY app, source
    UNION ALL
    SELECT app, source, 0, 0, 0, sum(calls)
    FROM catchment.rejections
    GROUP BY app, source
)
GROUP BY app, source
ORDER BY app, source
