-- Everything that happened, each event once, under the user and company that are known of it by now. Events that need no
-- other name to be looked up are read as they are; for the rest the subqueries run only if a query wants the column.
SELECT
    app,
    source,
    kind,
    name,
    event_id,
    time,
    received_at,
    late,
    user_id,
    identified_by,
    if(identity != '', identity, if(user_id != '', user_id, anonymous_id)) AS identity,
    anonymous_id,
    company_id,
    subscription_id,
    session_token,
    ip,
    place,
    user_agent,
    agent,
    uri,
    weight,
    properties,
    payload,
    platform,
    tags,
    label,
    verb,
    route,
    status,
    ifNull(concat(toString(intDiv(status, 100)), 'xx'), '') AS status_class,
    duration_ms,
    response_time,
    request_headers,
    if(request_encoding = 'base64', ifNull(nullIf(tryBase64Decode(replaceRegexpAll(request_body, '\\s', '')), ''), request_body), request_body) AS request_body,
    request_encoding,
    response_headers,
    if(response_encoding = 'base64', ifNull(nullIf(tryBase64Decode(replaceRegexpAll(response_body, '\\s', '')), ''), response_body), response_body) AS response_body,
    response_encoding,
    truncated,
    direction,
    api_version,
    blocked_by,
    request_token,
    platform_key_kind,
    dates,
    items,
    revenue_amount,
    revenue_currency,
    shipping_amount,
    shipping_currency,
    channel,
    decision_track_id,
    device_id,
    device_os,
    search_query,
    page_id,
    referrer_page_id,
    domain,
    personalization_mode,
    loaded_at
FROM
(
    SELECT *, if(user_id != '', 'user_id', '') AS identified_by
    FROM catchment.event_rows FINAL
    WHERE NOT resolvable
    UNION ALL
    SELECT
        * EXCEPT (by_anonymous_id, by_session_token, company_by_session_token)
        REPLACE (
            multiIf(unknown.user_id != '', unknown.user_id, by_anonymous_id != '', by_anonymous_id, by_session_token) AS user_id,
            if(unknown.company_id != '', unknown.company_id, company_by_session_token) AS company_id),
        multiIf(unknown.user_id != '', 'user_id', by_anonymous_id != '', 'anonymous_id', by_session_token != '', 'session_token', '') AS identified_by
    FROM
    (
        SELECT *,
            ifNull((
                SELECT argMin(aliases.entity_id, (aliases.received_us, aliases.entity_id))
                FROM catchment.aliases AS aliases
                WHERE aliases.app = unknown.app AND aliases.alias = unknown.anonymous_id
                    AND aliases.entity = 'user' AND aliases.alias_kind = 'anonymous_id'), '') AS by_anonymous_id,
            ifNull((
                SELECT argMin(aliases.entity_id, (aliases.received_us, aliases.entity_id))
                FROM catchment.aliases AS aliases
                WHERE aliases.app = unknown.app AND aliases.alias = unknown.session_token
                    AND aliases.entity = 'user' AND aliases.alias_kind = 'session_token'), '') AS by_session_token,
            ifNull((
                SELECT argMin(aliases.entity_id, (aliases.received_us, aliases.entity_id))
                FROM catchment.aliases AS aliases
                WHERE aliases.app = unknown.app AND aliases.alias = unknown.session_token
                    AND aliases.entity = 'company' AND aliases.alias_kind = 'session_token'), '') AS company_by_session_token
        FROM (SELECT * FROM catchment.event_rows FINAL WHERE resolvable) AS unknown
    ) AS unknown
) AS known
