-- Single refusals without their bodies, the newest first; every filter may be '' (see rejection_groups.sql).
SELECT rejection_id, received_at, app, source, status, code, path, reason, ip, route, payload_bytes, calls, replayed_at
FROM rejections
WHERE received_at >= toDateTime64OrZero({since:String}, 6, 'UTC')
    AND ({source:String} = '' OR source = {source:String})
    AND ({app:String} = '' OR app = {app:String})
    AND ({reason:String} = '' OR code = {reason:String} OR positionCaseInsensitiveUTF8(reason, {reason:String}) > 0)
ORDER BY received_at DESC, rejection_id
LIMIT {rows_max:UInt32}
