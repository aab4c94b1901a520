-- What is only found by reading the texts, in one of every `every` events. Values are masked here, so that none leaves
-- the store: of a card number the first six and last four digits stay, of a key its name and length.
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
            digits -> arraySum(arrayMap(
                (digit, position) -> if(position % 2 = 1, digit, if(digit > 4, digit * 2 - 9, digit * 2)),
                arrayMap(text -> toUInt8(text), arrayReverse(extractAll(digits, '[0-9]'))),
                arrayEnumerate(extractAll(digits, '[0-9]')))) % 10 = 0,
            extractAll(payload, '(?:^|[^0-9A-Za-z._-])((?:4[0-9]{3}|5[1-5][0-9]{2}|2[2-7][0-9]{2}|6011|65[0-9]{2})(?:[ -]?[0-9]{4}){3}|3[47][0-9]{2}[ -]?[0-9]{6}[ -]?[0-9]{5})(?:[^0-9A-Za-z._-]|$)')
        ) AS card,
        replaceRegexpAll(card, '[^0-9]', '') AS card_digits,
        arrayFirst(
            pair -> NOT startsWith(pair[2], 'hash:') AND NOT match(pair[2], '^[*xX.•-]+$|(?i)^.?(redacted|filtered|masked|hidden|removed)'),
            extractAllGroupsVertical(payload, '(?i)\\\\?"(password|passwd|pwd|passphrase|secret|client_?secret|api_?key|access_?token|refresh_?token|private_?key|card_?number|cvv|cvc|ssn)\\\\?"\\s*:\\s*\\\\?"([^"\\\\]{3,})')
        ) AS named,
        extract(uri, '(?i)[?&]((?:access_?|refresh_?|id_?|auth_?)?token|api_?key|password|passwd|pwd|secret|client_?secret|jwt|session_?id)=[^&#]{4,}') AS in_uri,
        length(extract(uri, '(?i)[?&](?:(?:access_?|refresh_?|id_?|auth_?)?token|api_?key|password|passwd|pwd|secret|client_?secret|jwt|session_?id)=([^&#]{4,})')) AS in_uri_chars,
        extract(payload, 'eyJ[A-Za-z0-9_-]{8,}\\.eyJ[A-Za-z0-9_-]{8,}\\.[A-Za-z0-9_-]{8,}') AS jwt,
        extract(payload, '\\b(?:(?:AKIA|ASIA)[0-9A-Z]{16}|(?:sk|rk)_live_[0-9A-Za-z]{16,}|gh[pousr]_[0-9A-Za-z]{36}|xox[abpr]-[0-9A-Za-z-]{20,})\\b|-----BEGIN [A-Z ]*PRIVATE KEY') AS secret_key
    SELECT
        app,
        source,
        event_id,
        name,
        received_at,
        arrayFilter(find -> find.1 != '', [
            (if(source = 'moesif' AND match(event_id, '^[0-9a-f]{8}-[0-9a-f]{4}-7') AND position(payload, event_id) = 0, 'no_transaction_id', ''), ''),
            (if(source = 'moloco' AND match(event_id, '^[0-9a-f]{8}-[0-9a-f]{4}-7') AND position(payload, event_id) = 0, 'no_id', ''), ''),
            (if(card != '', 'card_number', ''), concat(substring(card_digits, 1, 6), repeat('*', length(card_digits) - 10), substring(card_digits, -4))),
            (if(notEmpty(named), 'secret_value', ''), concat(named[1], ': ', toString(length(named[2])), ' characters')),
            (if(in_uri != '', 'secret_in_uri', ''), concat(in_uri, '=, ', toString(in_uri_chars), ' characters')),
            (if(jwt != '', 'token_in_text', ''), concat('eyJ..., ', toString(length(jwt)), ' characters')),
            (if(secret_key != '', 'secret_key', ''), concat(substring(secret_key, 1, 4), '..., ', toString(length(secret_key)), ' characters'))
        ]) AS finds
    FROM event_rows FINAL
    WHERE received_at > now64(6) - INTERVAL {minutes:UInt32} MINUTE
        AND loaded_at > now64(6) - INTERVAL {minutes:UInt32} + 1 MINUTE
        AND ({source:String} = '' OR source = {source:String})
        AND ({app:String} = '' OR app = {app:String})
        AND cityHash64(event_id) % {every:UInt32} = 0
)
ARRAY JOIN finds AS find
GROUP BY code, app, source
