-- What is being removed: parts that are still to be written anew, and the first failure.
SELECT count() AS pending, max(latest_fail_reason) AS failure
FROM system.mutations
WHERE database = 'catchment' AND NOT is_done AND NOT is_killed
