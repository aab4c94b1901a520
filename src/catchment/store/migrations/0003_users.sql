-- A profile is its leaves: the latest arrival wins for each path, and reading folds them (docs/decisions/0003).
CREATE TABLE catchment.profile_leaves
(
    app LowCardinality(String),
    entity LowCardinality(String),
    entity_id String,
    path String,
    value String CODEC(ZSTD(1)),
    received_us UInt64
)
ENGINE = ReplacingMergeTree(received_us)
ORDER BY (app, entity, entity_id, path)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW catchment.log_to_profile_leaves TO catchment.profile_leaves AS
SELECT
    app,
    if(user_id != '', 'user', 'anonymous') AS entity,
    if(user_id != '', user_id, anonymous_id) AS entity_id,
    leaf.1 AS path,
    leaf.2 AS value,
    received_us
FROM catchment.log
ARRAY JOIN leaves AS leaf
WHERE kind = 'user';

-- Other names of a user; they are only ever added.
CREATE TABLE catchment.user_aliases
(
    app LowCardinality(String),
    alias_kind LowCardinality(String),
    alias String,
    user_id String,
    received_us UInt64
)
ENGINE = ReplacingMergeTree(received_us)
ORDER BY (app, user_id, alias_kind, alias)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW catchment.log_to_user_aliases TO catchment.user_aliases AS
SELECT
    app,
    pair.1 AS alias_kind,
    pair.2 AS alias,
    user_id,
    received_us
FROM catchment.log
ARRAY JOIN [('session_token', session_token), ('anonymous_id', anonymous_id)] AS pair
WHERE kind = 'user' AND user_id != '' AND pair.2 != '';

-- When a user was first and last seen, by events and by updates. Minimum and maximum do not mind a second delivery.
CREATE TABLE catchment.user_activity
(
    app LowCardinality(String),
    user_id String,
    first_seen SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    last_seen SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    updated_us SimpleAggregateFunction(max, UInt64)
)
ENGINE = AggregatingMergeTree
ORDER BY (app, user_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW catchment.log_to_user_activity TO catchment.user_activity AS
SELECT
    app,
    user_id,
    min(seen) AS first_seen,
    max(seen) AS last_seen,
    max(if(kind = 'user', received_us, 0)) AS updated_us
FROM
(
    SELECT app, user_id, kind, received_us,
        if(kind = 'user', fromUnixTimestamp64Micro(toInt64(received_us), 'UTC'), time) AS seen
    FROM catchment.log
    WHERE kind IN ('action', 'api_call', 'event', 'user') AND user_id != ''
)
GROUP BY app, user_id;

-- A leaf is dead once a later one made an object of it or replaced the object that it was in.
CREATE VIEW catchment.users AS
SELECT
    seen.app AS app,
    seen.user_id AS user_id,
    concat('{', arrayStringConcat(arrayMap(leaf -> concat(toJSONString(leaf.1), ':', leaf.2), folded.leaves), ','), '}')::JSON AS profile,
    aliases.session_tokens AS session_tokens,
    seen.first_seen AS first_seen,
    seen.last_seen AS last_seen,
    if(seen.updated_us = 0, NULL, fromUnixTimestamp64Micro(toInt64(seen.updated_us), 'UTC')) AS updated_at
FROM
(
    SELECT app, user_id, min(first_seen) AS first_seen, max(last_seen) AS last_seen, max(updated_us) AS updated_us
    FROM catchment.user_activity
    GROUP BY app, user_id
) AS seen
LEFT JOIN
(
    SELECT app, entity_id,
        groupArray((path, value, received_us)) AS every_leaf,
        arrayFilter(
            leaf -> NOT endsWith(leaf.1, '%7B%7D') AND NOT arrayExists(
                other -> other.3 > leaf.3
                    AND (startsWith(leaf.1, concat(other.1, '.')) OR startsWith(other.1, concat(leaf.1, '.'))),
                every_leaf),
            every_leaf) AS leaves
    FROM catchment.profile_leaves FINAL
    WHERE entity = 'user'
    GROUP BY app, entity_id
) AS folded ON folded.app = seen.app AND folded.entity_id = seen.user_id
LEFT JOIN
(
    SELECT app, user_id, groupUniqArrayIf(alias, alias_kind = 'session_token') AS session_tokens
    FROM catchment.user_aliases
    GROUP BY app, user_id
) AS aliases ON aliases.app = seen.app AND aliases.user_id = seen.user_id;
