-- Events and users that no client has sent.
SELECT mark, source, kind, toUInt32(count()) AS copies
FROM
(
    SELECT properties.t::String AS mark, source, kind FROM events
    UNION ALL
    SELECT user_id AS mark, 'moesif' AS source, 'user' AS kind FROM users WHERE NOT startsWith(user_id, 'user-') AND user_id != 'one-user'
)
WHERE NOT match(mark, '^c[0-9]+-[0-9]+$') OR toUInt64OrZero(extract(mark, '^c([0-9]+)-')) >= {clients:UInt64}
GROUP BY mark, source, kind
LIMIT 100
