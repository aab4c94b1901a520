-- What is known of whom besides the leaves of their profile: their names, and when they were seen. What a visitor or a
-- session did is a fact about its owner, once there is one.
SELECT app, entity, entity_id, '' AS path, '' AS value, alias_kind, alias,
    NULL::Nullable(DateTime64(6, 'UTC')) AS first_seen, NULL::Nullable(DateTime64(6, 'UTC')) AS last_seen, 0 AS updated_us
FROM catchment.aliases
UNION ALL
SELECT app, entity, entity_id, '', '', '', '', first_seen, last_seen, updated_us
FROM catchment.activity
WHERE entity IN ('user', 'company', 'subscription')
UNION ALL
SELECT seen.app, multiIf(owners.owner = '', seen.entity, seen.entity = 'company_token', 'company', 'user'),
    if(owners.owner = '', seen.entity_id, owners.owner), '', '', '', '', first_seen, last_seen, updated_us
FROM catchment.activity AS seen
LEFT JOIN catchment.alias_owners AS owners
    ON owners.app = seen.app AND owners.alias = seen.entity_id
        AND owners.entity = if(seen.entity = 'company_token', 'company', 'user')
        AND owners.alias_kind = if(seen.entity = 'anonymous', 'anonymous_id', 'session_token')
WHERE seen.entity = 'anonymous' OR (seen.entity IN ('user_token', 'company_token') AND owners.owner != '')
UNION ALL
SELECT app, entity, entity_id, path, value, '', '', NULL, NULL, 0
FROM catchment.live_leaves
