-- Senders, told by address and program, whose times are off as a rule: the median is ahead of the arrival, or even the
-- quickest tenth comes minutes late while all come about equally late.
SELECT
    code,
    app,
    source,
    sum(events) AS found,
    argMax(sender_event, abs(median_s)) AS event_id,
    argMax(sender_name, abs(median_s)) AS name,
    argMax(concat(ip, if(user_agent = '', '', concat(', ', user_agent)), ': median ', toString(round(abs(median_s), 1)), ' s'), abs(median_s)) AS detail
FROM
(
    SELECT
        app,
        source,
        ip,
        user_agent,
        count() AS events,
        argMax(event_id, received_at) AS sender_event,
        argMax(name, received_at) AS sender_name,
        quantiles(0.1, 0.5, 0.9)(toUnixTimestamp64Micro(received_at) / 1e6 - toUnixTimestamp64Micro(time) / 1e6) AS ages_s,
        ages_s[2] AS median_s,
        multiIf(
            median_s < -5, 'clock_ahead',
            ages_s[1] > 120 AND ages_s[3] < 86400 AND ages_s[3] - ages_s[1] < 600, 'clock_behind',
            '') AS code
    FROM event_rows FINAL
    WHERE received_at > now64(6) - INTERVAL {minutes:UInt32} MINUTE
        AND loaded_at > now64(6) - INTERVAL {minutes:UInt32} + 1 MINUTE
        AND ({source:String} = '' OR source = {source:String})
        AND ({app:String} = '' OR app = {app:String})
    GROUP BY app, source, ip, user_agent
    HAVING code != '' AND events >= 10
)
GROUP BY code, app, source
