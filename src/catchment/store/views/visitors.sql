-- One row for each anonymous id that no user is known by: who is identified moves to `users`.
SELECT
    app,
    entity_id AS anonymous_id,
    campaign,
    ip,
    place,
    user_agent,
    agent,
    modified_time,
    profile,
    first_seen,
    last_seen,
    updated_at
FROM catchment.profiles
WHERE entity = 'anonymous'
