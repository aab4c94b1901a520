-- Refused calls that were not replayed since; the example is one of the most frequent reason.
SELECT
    'refused' AS code,
    app,
    source,
    sum(refusals) AS found,
    argMax(rejection, refusals) AS event_id,
    argMax(call, refusals) AS name,
    argMax(why, refusals) AS detail
FROM
(
    SELECT
        app,
        source,
        sum(calls) AS refusals,
        argMax(rejection_id, received_at) AS rejection,
        argMax(concat(method, ' ', route), received_at) AS call,
        concat(toString(status), ' ', code, ': ', reason, if(path = '', '', concat(', at ', path))) AS why
    FROM rejections
    WHERE received_at > now64(6) - INTERVAL {minutes:UInt32} MINUTE
        AND replayed_at IS NULL
        AND ({source:String} = '' OR source = {source:String})
        AND ({app:String} = '' OR app = {app:String})
    GROUP BY app, source, status, code, reason, path
)
GROUP BY app, source
