-- Refused is not lost: what was answered 4xx, and why; `replayed_at` where it was mended and decoded again since.
SELECT
    app,
    source,
    received_at,
    status,
    code,
    reason,
    path,
    payload,
    ip,
    user_agent,
    method,
    route,
    payload_bytes,
    calls,
    rejection_id,
    replayed_at
FROM (SELECT * FROM catchment.rejection_rows FINAL) AS refused
LEFT ANY JOIN
(
    SELECT app, source, rejection_id, toNullable(replayed_at) AS replayed_at
    FROM catchment.replay_rows FINAL
) AS replayed
USING (app, source, rejection_id)
