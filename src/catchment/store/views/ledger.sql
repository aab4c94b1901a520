-- The books of each minute of arrival: what the edge says that it took, and what became of it (docs/decisions/0007).
-- Of the events that came out of the log, one is missing if the store has no copy of it; else, if it is not the stored
-- copy, it is a duplicate. Conditions on minute, app and source reach the tables. Minutes of which something was removed
-- by its age are closed, and not shown (docs/decisions/0009).
SELECT
    minute,
    app,
    source,
    sum(told) AS received,
    sum(kept) AS stored,
    toUInt64(greatest(toInt64(sum(delivered)) - toInt64(stored) - toInt64(sum(missing)), 0)) AS duplicate,
    sum(refused) AS rejected,
    sum(flagged) AS late,
    toInt64(received) - toInt64(stored) - toInt64(duplicate) - toInt64(rejected) AS difference
FROM
(
    SELECT minute, app, source, sum(largest) AS told, 0 AS kept, 0 AS delivered, 0 AS missing, 0 AS refused, 0 AS flagged
    FROM
    (
        SELECT minute, app, source, edge, max(tally) AS largest
        FROM catchment.edge_tallies
        GROUP BY minute, app, source, edge
    )
    GROUP BY minute, app, source
    UNION ALL
    SELECT toStartOfMinute(received_at) AS minute, app, source, 0, countIf(NOT event), count(), 0, 0, 0
    FROM catchment.deliveries FINAL
    GROUP BY minute, app, source
    UNION ALL
    SELECT minute, app, source, 0, 0, 0, count(), 0, 0
    FROM
    (
        SELECT cityHash64(app, source, day, platform, event_id) AS key
        FROM catchment.event_rows
    ) AS found
    RIGHT ANTI JOIN
    (
        SELECT toStartOfMinute(received_at) AS minute, app, source, key
        FROM catchment.deliveries FINAL
        WHERE event
    ) AS delivered
    USING (key)
    GROUP BY minute, app, source
    UNION ALL
    SELECT toStartOfMinute(received_at) AS minute, app, source, 0, count(), 0, 0, 0, countIf(late)
    FROM catchment.event_rows FINAL
    GROUP BY minute, app, source
    UNION ALL
    SELECT toStartOfMinute(received_at) AS minute, app, source, 0, 0, 0, 0, sum(calls), 0
    FROM catchment.rejection_rows FINAL
    GROUP BY minute, app, source
)
WHERE minute >= (
    SELECT mapFromArrays(groupArray(name), groupArray(books_from))
    FROM
    (
        SELECT if(app = '', '', concat(app, '/', source)) AS name, max(kept_from.books_from) AS books_from
        FROM catchment.kept_from AS kept_from
        GROUP BY name
    )
)[if(app = '', '', concat(app, '/', source))]
GROUP BY minute, app, source
