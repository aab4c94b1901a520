-- The events of one client, by the mark that they carry.
SELECT properties.t::String AS mark, source, kind, toUInt32(count()) AS copies
FROM events
WHERE startsWith(mark, {prefix:String})
GROUP BY mark, source, kind
