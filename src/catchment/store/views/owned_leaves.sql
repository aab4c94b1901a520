-- The leaves of all profiles, under whoever they are of by now: those of a visitor are its user's once there is one.
SELECT app, entity, entity_id, path, value, received_us
FROM catchment.profile_leaves FINAL
WHERE entity != 'anonymous'
UNION ALL
SELECT visitors.app, if(owners.owner = '', 'anonymous', 'user'), if(owners.owner = '', visitors.entity_id, owners.owner), path, value, received_us
FROM catchment.profile_leaves AS visitors FINAL
LEFT JOIN catchment.alias_owners AS owners
    ON owners.app = visitors.app AND owners.alias = visitors.entity_id AND owners.entity = 'user' AND owners.alias_kind = 'anonymous_id'
WHERE visitors.entity = 'anonymous'
