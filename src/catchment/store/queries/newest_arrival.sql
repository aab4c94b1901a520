-- When the last record that the store has arrived, in seconds since 1970; 0 where it has none.
SELECT toUnixTimestamp(max(received_at)) AS seconds FROM catchment.deliveries
