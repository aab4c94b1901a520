-- Who is known, with all that is known of them: users, companies, subscriptions, and visitors who have no user id (yet).
SELECT
    * EXCEPT (leaves),
    CAST(
        (
            ifNull(profile.campaign.utm_source::Nullable(String), ''),
            ifNull(profile.campaign.utm_medium::Nullable(String), ''),
            ifNull(profile.campaign.utm_campaign::Nullable(String), ''),
            ifNull(profile.campaign.utm_term::Nullable(String), ''),
            ifNull(profile.campaign.utm_content::Nullable(String), ''),
            ifNull(profile.campaign.referrer::Nullable(String), ''),
            ifNull(profile.campaign.referring_domain::Nullable(String), ''),
            ifNull(profile.campaign.gclid::Nullable(String), '')
        ),
        'Tuple(utm_source String, utm_medium String, utm_campaign String, utm_term String, utm_content String, referrer String, referring_domain String, gclid String)'
    ) AS campaign,
    ifNull(profile.company_id::Nullable(String), '') AS company_id,
    ifNull(profile.ip_address::Nullable(String), '') AS ip,
    ifNull(profile.user_agent_string::Nullable(String), '') AS user_agent,
    CAST(
        (
            ifNull(profile.user_agent.name::Nullable(String), ''),
            ifNull(profile.user_agent.version::Nullable(String), ''),
            ifNull(profile.user_agent.os::Nullable(String), ''),
            ifNull(profile.user_agent.os_version::Nullable(String), ''),
            ifNull(profile.user_agent.device::Nullable(String), '')
        ),
        'Tuple(name String, version String, os String, os_version String, device String)'
    ) AS agent,
    CAST(
        (
            ifNull(profile.geo_ip.country::Nullable(String), ''),
            ifNull(profile.geo_ip.region::Nullable(String), ''),
            ifNull(profile.geo_ip.city::Nullable(String), ''),
            toFloat64OrNull(profile.geo_ip.latitude::Nullable(String)),
            toFloat64OrNull(profile.geo_ip.longitude::Nullable(String))
        ),
        'Tuple(country String, region String, city String, latitude Nullable(Float64), longitude Nullable(Float64))'
    ) AS place,
    parseDateTime64BestEffortOrNull(profile.modified_time::Nullable(String), 6, 'UTC') AS modified_time
FROM
(
    SELECT
        app,
        entity,
        entity_id,
        groupArrayIf((path, value), path != '') AS leaves,
        concat('{', arrayStringConcat(arrayMap(leaf -> concat(toJSONString(leaf.1), ':', leaf.2), leaves), ','), '}')::JSON AS profile,
        arraySort(groupUniqArrayIf(alias, alias_kind = 'session_token')) AS session_tokens,
        arraySort(groupUniqArrayIf(alias, alias_kind = 'anonymous_id')) AS anonymous_ids,
        assumeNotNull(min(first_seen)) AS first_seen,
        assumeNotNull(max(last_seen)) AS last_seen,
        if(max(updated_us) = 0, NULL, fromUnixTimestamp64Micro(toInt64(max(updated_us)), 'UTC')) AS updated_at
    FROM catchment.profile_facts
    GROUP BY app, entity, entity_id
)
