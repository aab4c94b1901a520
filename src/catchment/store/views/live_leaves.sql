-- The leaves that make up each profile. A leaf is dead once a later one stands above it, which replaced the object that
-- it was in, or below it, which made an object of it (docs/decisions/0003).
--
-- Each leaf tells of itself at its own path and at every path above. So a path knows the latest leaf at it and below it,
-- and the paths below can be told of the leaf above them: the work grows with the leaves, not with their pairs.
SELECT app, entity, entity_id, path, argMax(value, own_us) AS value
FROM
(
    SELECT app, entity, entity_id, node AS path, own_value AS value, own_us, below_us, 0 AS above_us
    FROM catchment.leaf_paths
    WHERE own_us > 0
    UNION ALL
    SELECT app, entity, entity_id, arrayJoin(under) AS path, '', 0, 0, own_us
    FROM catchment.leaf_paths
    WHERE own_us > 0 AND below_us > 0
)
GROUP BY app, entity, entity_id, path
HAVING max(own_us) >= greatest(max(below_us), max(above_us)) AND NOT endsWith(path, '%7B%7D')
