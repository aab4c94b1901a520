-- One row a user: what was said of them, merged, and when they were seen. The reserved members of `metadata`
-- (contracts/moesif.md 3.3) are columns, and stay in the profile.
SELECT
    app,
    entity_id AS user_id,
    company_id,
    ifNull(profile.metadata.email::Nullable(String), '') AS email,
    ifNull(profile.metadata.name::Nullable(String), '') AS name,
    ifNull(profile.metadata.first_name::Nullable(String), '') AS first_name,
    ifNull(profile.metadata.last_name::Nullable(String), '') AS last_name,
    ifNull(profile.metadata.phone::Nullable(String), '') AS phone,
    ifNull(profile.metadata.photo_url::Nullable(String), '') AS photo_url,
    campaign,
    ip,
    place,
    user_agent,
    agent,
    modified_time,
    profile,
    session_tokens,
    anonymous_ids,
    first_seen,
    last_seen,
    updated_at
FROM catchment.profiles
WHERE entity = 'user'
