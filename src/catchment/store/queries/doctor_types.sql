-- Properties that have one type in some events of a name and another in others, in one of every `every` events. Numbers
-- are one type. The example is of the rarer type.
SELECT
    'type_flips' AS code,
    app,
    source,
    sum(rarer) AS found,
    argMax(rare_event, (rarer, path)) AS event_id,
    argMax(event_name, (rarer, path)) AS name,
    argMax(concat(path, ' is ', types), (rarer, path)) AS detail
FROM
(
    SELECT
        app,
        source,
        event_name,
        path,
        sum(events) - max(events) AS rarer,
        argMin(example, events) AS rare_event,
        arrayStringConcat(arraySort(groupArray(type)), ' or ') AS types
    FROM
    (
        SELECT
            app,
            source,
            if(route = '', name, concat(verb, ' ', route)) AS event_name,
            found.1 AS path,
            multiIf(
                found.2 IN ('Int64', 'UInt64', 'Float64', 'Int128', 'UInt128'), 'number',
                found.2 = 'String', 'text',
                found.2 = 'Bool', 'boolean',
                startsWith(found.2, 'Array'), 'array',
                found.2) AS type,
            count() AS events,
            argMax(event_id, received_at) AS example
        FROM event_rows FINAL
        ARRAY JOIN CAST(JSONAllPathsWithTypes(properties), 'Array(Tuple(String, String))') AS found
        WHERE received_at > now64(6) - INTERVAL {minutes:UInt32} MINUTE
            AND loaded_at > now64(6) - INTERVAL {minutes:UInt32} + 1 MINUTE
            AND ({source:String} = '' OR source = {source:String})
            AND ({app:String} = '' OR app = {app:String})
            AND cityHash64(event_id) % {every:UInt32} = 0
            AND found.2 != 'None'
        GROUP BY app, source, event_name, path, type
    )
    GROUP BY app, source, event_name, path
    HAVING count() > 1
)
GROUP BY app, source
