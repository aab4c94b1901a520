-- What the rejections say that was refused, one row for each kept call.
SELECT if(extract(payload, 'bad-c[0-9]+-[0-9]+') != '', extract(payload, 'bad-c[0-9]+-[0-9]+'), concat(code, ': ', reason)) AS mark
FROM rejections
GROUP BY rejection_id, mark
