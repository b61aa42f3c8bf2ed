-- name: purchase_gaps
-- Count the days between the days on which a person bought.
-- index: none: all orders; asked by a person
SELECT days, count(*) AS n FROM (
    SELECT day - lag(day) OVER (PARTITION BY bucket, profile ORDER BY day) AS days FROM (
        SELECT o.bucket, o.profile, (o.placed_at AT TIME ZONE 'UTC')::date AS day FROM person_order o
        WHERE o.is_counted AND o.placed_at <= $1::timestamptz GROUP BY 1, 2, 3) bought) gone
WHERE days IS NOT NULL GROUP BY days;

-- name: purchase_repeats
-- Of days on which a person bought, at least so many days ago: count them, and those that another followed as soon.
-- index: none: all orders; asked by a person
SELECT k.days, count(b.day) AS purchases, count(b.day) FILTER (WHERE b.next - b.day <= k.days) AS followed
FROM (
    SELECT day, lead(day) OVER (PARTITION BY bucket, profile ORDER BY day) AS next FROM (
        SELECT o.bucket, o.profile, (o.placed_at AT TIME ZONE 'UTC')::date AS day FROM person_order o
        WHERE o.is_counted AND o.placed_at <= $1::timestamptz GROUP BY 1, 2, 3) bought) b
RIGHT JOIN unnest($2::int[]) AS k (days) ON ($1::timestamptz AT TIME ZONE 'UTC')::date - b.day >= k.days
GROUP BY k.days ORDER BY k.days;

-- name: silences
-- Count people by the whole days since the last sign of each kind; NULL: there was none.
-- index: none: all people; asked by a person
SELECT s.sign, CASE WHEN s.at IS NOT NULL THEN greatest(0, floor(extract(epoch FROM $1::timestamptz - s.at) / 86400))::int END AS days,
       count(*) AS people
FROM profile p, LATERAL (VALUES
    ('order', p.last_order_at), ('seen', p.last_seen_at), ('message', greatest(p.last_click_at, p.last_reply_at)),
    ('any', greatest(p.last_order_at, p.last_seen_at, p.last_click_at, p.last_reply_at))) AS s (sign, at)
GROUP BY 1, 2;

-- name: bulk_days
-- Name the days, counted back from now, on which runs of a class over many people began.
-- index: none: all runs; asked by a person
SELECT DISTINCT floor(extract(epoch FROM $1::timestamptz - r.not_before) / 86400)::int AS days FROM run r
WHERE r.class = $3::smallint AND r.list IS NOT NULL
  AND r.not_before > $2::timestamptz AND r.not_before <= $1::timestamptz;
