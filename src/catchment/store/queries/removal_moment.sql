-- When the last removal that came to its end began, in seconds since 1970; 0 where there was none.
SELECT toUnixTimestamp(max(enforced_at)) AS seconds FROM catchment.kept_from
