-- Takes back that removals began later than `at`, in seconds since 1970.
ALTER TABLE catchment.kept_from
    UPDATE enforced_at = toDateTime({at:UInt32}, 'UTC') WHERE enforced_at > toDateTime({at:UInt32}, 'UTC')
SETTINGS mutations_sync = 1
