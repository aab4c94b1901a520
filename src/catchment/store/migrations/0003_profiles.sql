-- A profile is its leaves: the latest arrival wins for each path, and reading folds them (docs/decisions/0003).
-- `entity` is user, anonymous (a user known by an anonymous id only), company or subscription.
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
    if(kind = 'user' AND user_id = '', 'anonymous', kind) AS entity,
    multiIf(kind = 'company', company_id, kind = 'subscription', subscription_id, user_id != '', user_id, anonymous_id) AS entity_id,
    leaf.1 AS path,
    leaf.2 AS value,
    received_us
FROM catchment.log
ARRAY JOIN leaves AS leaf
WHERE kind IN ('user', 'company', 'subscription');

-- Other names of users and companies; they are only ever added. The first who was given a name keeps it
-- (docs/decisions/0006), so of each claim the earliest arrival counts.
CREATE TABLE catchment.aliases
(
    app LowCardinality(String),
    entity LowCardinality(String),
    alias_kind LowCardinality(String),
    alias String,
    entity_id String,
    received_us UInt64,
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (app, entity, alias_kind, alias, entity_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW catchment.log_to_aliases TO catchment.aliases AS
SELECT
    app,
    kind AS entity,
    pair.1 AS alias_kind,
    pair.2 AS alias,
    if(kind = 'user', user_id, company_id) AS entity_id,
    received_us,
    18446744073709551615 - received_us AS version
FROM catchment.log
ARRAY JOIN [('session_token', session_token), ('anonymous_id', if(kind = 'user', anonymous_id, ''))] AS pair
WHERE kind IN ('user', 'company') AND entity_id != '' AND pair.2 != '';

-- When someone was first and last seen, by events and by updates. Minimum and maximum do not mind a second delivery.
-- What an event without user tells of its session or visitor is kept under that name: user_token, company_token,
-- anonymous.
CREATE TABLE catchment.activity
(
    app LowCardinality(String),
    entity LowCardinality(String),
    entity_id String,
    first_seen SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    last_seen SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    updated_us SimpleAggregateFunction(max, UInt64)
)
ENGINE = AggregatingMergeTree
ORDER BY (app, entity, entity_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW catchment.log_to_activity TO catchment.activity AS
SELECT
    app,
    who.1 AS entity,
    who.2 AS entity_id,
    min(seen) AS first_seen,
    max(seen) AS last_seen,
    max(if(kind = who.1 OR (kind = 'user' AND who.1 = 'anonymous'), received_us, 0)) AS updated_us
FROM
(
    SELECT app, source, kind, user_id, anonymous_id, company_id, subscription_id, session_token, received_us,
        if(kind IN ('user', 'company', 'subscription'), fromUnixTimestamp64Micro(toInt64(received_us), 'UTC'), time) AS seen
    FROM catchment.log
    WHERE kind IN ('action', 'api_call', 'event', 'user', 'company', 'subscription')
)
ARRAY JOIN
[
    ('user', user_id),
    ('company', company_id),
    ('subscription', subscription_id),
    ('anonymous', if(source = 'moesif' AND user_id = '', anonymous_id, '')),
    ('user_token', if(user_id = '' AND kind != 'company', session_token, '')),
    ('company_token', if(company_id = '' AND kind != 'user', session_token, ''))
] AS who
WHERE who.2 != ''
GROUP BY app, entity, entity_id;
