-- Refused is not lost: what was answered 4xx, and why.
SELECT app, source, received_at, status, code, reason, path, payload, ip, user_agent, method, route, payload_bytes, rejection_id
FROM catchment.rejection_rows FINAL
