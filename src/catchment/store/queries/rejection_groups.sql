-- Refusals by reason, the most frequent first; every filter may be ''. `reason` is a code, or words of the reason.
SELECT
    sum(calls) AS refused,
    countIf(replayed_at IS NOT NULL) AS replayed,
    app,
    source,
    status,
    code,
    path,
    reason,
    min(received_at) AS first_at,
    max(received_at) AS last_at,
    argMax(rejection_id, received_at) AS example
FROM rejections
WHERE received_at >= toDateTime64OrZero({since:String}, 6, 'UTC')
    AND ({source:String} = '' OR source = {source:String})
    AND ({app:String} = '' OR app = {app:String})
    AND ({reason:String} = '' OR code = {reason:String} OR positionCaseInsensitiveUTF8(reason, {reason:String}) > 0)
GROUP BY app, source, status, code, path, reason
ORDER BY refused DESC, last_at DESC
LIMIT {rows_max:UInt32}
