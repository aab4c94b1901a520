-- Everything that one row can tell without its texts: each check is a pair of its code, or '', and what was found.
SELECT
    find.1 AS code,
    app,
    source,
    count() AS found,
    argMax(event_id, received_at) AS event_id,
    argMax(name, received_at) AS name,
    argMax(find.2, received_at) AS detail
FROM
(
    WITH
        arrayFirst(
            id -> lowerUTF8(id.2) IN (
                'undefined', 'null', '(null)', 'nil', 'none', 'nan', 'true', 'false', 'infinity', '-infinity',
                '[object object]', 'unknown', 'anonymous', 'guest', 'n/a', 'test', ' ')
                OR match(id.2, '^[0-]+$'),
            [('id', event_id), ('user_id', user_id), ('anonymous_id', anonymous_id), ('company_id', company_id),
             ('subscription_id', subscription_id), ('device id', device_id)]) AS placeholder,
        arrayFirst(
            id -> lengthUTF8(id.2) > 128,
            [('id', event_id), ('user_id', user_id), ('custom_id or session_id', anonymous_id), ('device id', device_id)]
        ) AS long_id,
        dateDiff('second', time, received_at) AS age_seconds,
        time < toDateTime64('2000-01-01 00:00:00', 6, 'UTC') AS ancient
    SELECT
        app,
        source,
        event_id,
        name,
        received_at,
        arrayFilter(find -> find.1 != '', [
            (if(placeholder.1 != '', 'placeholder_id', ''), concat(placeholder.1, ' = ', placeholder.2)),
            (if(ancient, 'time_in_seconds', ''), toString(time)),
            (if(NOT ancient AND (late OR (source = 'moesif' AND age_seconds > 7 * 86400) OR (source = 'batch' AND age_seconds > 86400)),
                'outside_window', ''), concat(toString(time), ', ', toString(intDiv(age_seconds, 3600)), ' hours old')),
            (if(age_seconds < -60, 'time_ahead', ''), concat(toString(time), ', ', toString(-age_seconds), ' s ahead')),
            (if(source = 'batch' AND lengthUTF8(name) > 33, 'batch_name_long', ''), concat(toString(lengthUTF8(name) - 3), ' characters')),
            (if(source = 'batch' AND lengthUTF8(user_id) > 1024, 'batch_user_id_long', ''), concat(toString(lengthUTF8(user_id)), ' characters')),
            (if(source = 'moloco' AND long_id.1 != '', 'moloco_id_long', ''), concat(long_id.1, ' of ', toString(lengthUTF8(long_id.2)), ' characters')),
            (if(source = 'moloco' AND greatest(lengthUTF8(page_id), lengthUTF8(referrer_page_id)) > 128, 'moloco_page_id_long', ''),
                concat(toString(greatest(lengthUTF8(page_id), lengthUTF8(referrer_page_id))), ' characters')),
            (if(source = 'moloco' AND name = 'PURCHASE' AND revenue_amount IS NULL, 'purchase_without_revenue', ''), ''),
            (if(source = 'moloco' AND name = 'PURCHASE' AND arrayExists(item -> item.price IS NULL OR item.quantity IS NULL, items),
                'purchase_without_price', ''), ''),
            (if(truncated, 'truncated', ''), ''),
            (if(kind = 'api_call' AND NOT match(uri, '^[A-Za-z][A-Za-z0-9+.-]*://'), 'uri_without_host', ''), substring(splitByChar('?', uri)[1], 1, 80)),
            (if(user_id = '' AND anonymous_id = '' AND session_token = '' AND company_id = '' AND identity = ''
                AND name NOT IN ('IMPRESSION', 'CLICK'), 'nobody', ''), '')
        ]) AS finds
    FROM event_rows FINAL
    WHERE received_at > now64(6) - INTERVAL {minutes:UInt32} MINUTE
        AND loaded_at > now64(6) - INTERVAL {minutes:UInt32} + 1 MINUTE
        AND ({source:String} = '' OR source = {source:String})
        AND ({app:String} = '' OR app = {app:String})
)
ARRAY JOIN finds AS find
GROUP BY code, app, source
