-- Notes that the removal that began `at`, in seconds since 1970, came to its end.
INSERT INTO catchment.kept_from (enforced_at) SELECT toDateTime({at:UInt32}, 'UTC')
