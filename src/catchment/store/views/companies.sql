-- One row a company, like `users`.
SELECT
    app,
    entity_id AS company_id,
    ifNull(profile.company_domain::Nullable(String), '') AS company_domain,
    campaign,
    ip,
    place,
    modified_time,
    profile,
    session_tokens,
    first_seen,
    last_seen,
    updated_at
FROM catchment.profiles
WHERE entity = 'company'
