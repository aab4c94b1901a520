-- All facts that a profile is made of: its leaves, its names, and when it was seen. What was said of a visitor or of a
-- session is a fact about its owner, once there is one.
SELECT app, entity, entity_id, path, value, received_us,
    '' AS alias_kind, '' AS alias, NULL::Nullable(DateTime64(6, 'UTC')) AS first_seen, NULL::Nullable(DateTime64(6, 'UTC')) AS last_seen, 0 AS updated_us
FROM catchment.profile_leaves FINAL
WHERE entity != 'anonymous'
UNION ALL
SELECT visitors.app, if(owners.owner = '', 'anonymous', 'user'), if(owners.owner = '', visitors.entity_id, owners.owner), path, value, received_us, '', '', NULL, NULL, 0
FROM catchment.profile_leaves AS visitors FINAL
LEFT JOIN catchment.alias_owners AS owners
    ON owners.app = visitors.app AND owners.alias = visitors.entity_id AND owners.entity = 'user' AND owners.alias_kind = 'anonymous_id'
WHERE visitors.entity = 'anonymous'
UNION ALL
SELECT app, entity, entity_id, '', '', 0, alias_kind, alias, NULL, NULL, 0
FROM catchment.aliases
UNION ALL
SELECT app, entity, entity_id, '', '', 0, '', '', first_seen, last_seen, updated_us
FROM catchment.activity
WHERE entity IN ('user', 'company', 'subscription')
UNION ALL
SELECT seen.app, multiIf(owners.owner = '', seen.entity, seen.entity = 'company_token', 'company', 'user'),
    if(owners.owner = '', seen.entity_id, owners.owner), '', '', 0, '', '', first_seen, last_seen, updated_us
FROM catchment.activity AS seen
LEFT JOIN catchment.alias_owners AS owners
    ON owners.app = seen.app AND owners.alias = seen.entity_id
        AND owners.entity = if(seen.entity = 'company_token', 'company', 'user')
        AND owners.alias_kind = if(seen.entity = 'anonymous', 'anonymous_id', 'session_token')
WHERE seen.entity = 'anonymous' OR (seen.entity IN ('user_token', 'company_token') AND owners.owner != '')
