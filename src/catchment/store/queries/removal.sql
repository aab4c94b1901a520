-- When the last removal of what was too old came to its end; '' if there was none yet (docs/decisions/0009).
SELECT if(max(enforced_at) = 0, '', toString(max(enforced_at))) AS enforced_at FROM catchment.kept_from
