-- Every path of every profile at which there is a leaf, or below which there are some: the latest arrival at it and below
-- it, and the paths of those below.
SELECT
    app,
    entity,
    entity_id,
    node,
    maxIf(received_us, node = path) AS own_us,
    argMaxIf(value, received_us, node = path) AS own_value,
    maxIf(received_us, node != path) AS below_us,
    groupUniqArrayIf(path, node != path) AS under
FROM
(
    SELECT app, entity, entity_id, path, value, received_us,
        arrayJoin(arrayMap(
            depth -> arrayStringConcat(arraySlice(splitByChar('.', path), 1, depth), '.'),
            range(1, length(splitByChar('.', path)) + 1))) AS node
    FROM catchment.owned_leaves
)
GROUP BY app, entity, entity_id, node
