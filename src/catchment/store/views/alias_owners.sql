-- Whose each name is: of all who were given it, the first (docs/decisions/0006).
SELECT app, entity, alias_kind, alias, argMin(entity_id, (received_us, entity_id)) AS owner
FROM catchment.aliases
GROUP BY app, entity, alias_kind, alias
