-- One row a subscription of a company; its items stay in the profile.
SELECT
    app,
    entity_id AS subscription_id,
    company_id,
    ifNull(profile.status::Nullable(String), '') AS status,
    parseDateTime64BestEffortOrNull(profile.current_period_start::Nullable(String), 6, 'UTC') AS current_period_start,
    parseDateTime64BestEffortOrNull(profile.current_period_end::Nullable(String), 6, 'UTC') AS current_period_end,
    modified_time,
    profile,
    first_seen,
    last_seen,
    updated_at
FROM catchment.profiles
WHERE entity = 'subscription'
