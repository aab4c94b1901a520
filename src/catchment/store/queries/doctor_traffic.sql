-- What arrived in the last minutes: events and bytes of each application and source, and refused calls.
SELECT app, source, sum(taken) AS events, sum(bytes) AS payload_bytes, sum(turned_away) AS refused
FROM
(
    SELECT app, source, count() AS taken, sum(length(payload)) AS bytes, 0 AS turned_away
    FROM event_rows FINAL
    WHERE received_at > now64(6) - INTERVAL {minutes:UInt32} MINUTE
        AND loaded_at > now64(6) - INTERVAL {minutes:UInt32} + 1 MINUTE
    GROUP BY app, source
    UNION ALL
    SELECT app, source, 0, 0, sum(calls)
    FROM rejections
    WHERE received_at > now64(6) - INTERVAL {minutes:UInt32} MINUTE
    GROUP BY app, source
)
WHERE ({source:String} = '' OR source = {source:String}) AND ({app:String} = '' OR app = {app:String})
GROUP BY app, source
ORDER BY app, source
