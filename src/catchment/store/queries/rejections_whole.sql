-- Refusals with everything, by their ids.
SELECT *
FROM rejections
WHERE rejection_id IN {ids:Array(String)}
ORDER BY received_at, rejection_id
