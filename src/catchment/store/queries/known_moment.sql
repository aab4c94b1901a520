-- A moment that is known to have been, in seconds since 1970: when the last removal began, or where there was none, when
-- the last record that the store has arrived; 0 where it has none.
SELECT if(max(enforced_at) = 0, (SELECT toUnixTimestamp(max(received_at)) FROM catchment.deliveries), toUnixTimestamp(max(enforced_at))) AS seconds
FROM catchment.kept_from
