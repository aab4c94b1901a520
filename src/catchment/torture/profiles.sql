-- The users that one client told of; others are only named in events.
SELECT user_id AS mark, 'moesif' AS source, 'user' AS kind, toUInt32(count()) AS copies
FROM users
WHERE startsWith(user_id, {prefix:String}) AND profile.metadata.t::String = user_id
GROUP BY mark
