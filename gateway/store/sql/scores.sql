-- Pieces of rfm.sql: the scores of those who buy (SG-9). A buyer is who has a last order; o = an order, x = the scores that somebody has.

-- piece: least_values
-- The least values of the scores 2 to 5 out of `found`, each value with how many have it: among `buyers`, of whom `upto`
-- are not better, a value that n have is at the percentile rank (upto - n / 2) / buyers.
FROM (
    SELECT v, buyers, 1 + div(5 * (2 * upto - n), 2 * buyers) AS score
    FROM (SELECT v, n, sum(n) OVER (ORDER BY v) AS upto, sum(n) OVER () AS buyers FROM found) ranked) scored

-- piece: rescored
-- The scores that each buyer of a bucket gets. $1 bucket, $2 now, $3 since when orders count, $4 currency, $5 to $7 the least
-- values of the scores of r, f and m, $8 whether a score has to hold, $9 the groups.
SELECT h.*, ($9::text[])[25 * h.r + 5 * h.f + h.m - 30] AS named FROM (
    SELECT s.profile, s.was_r, s.was_f, s.was_m, s.was_held, s.was_named,
           CASE WHEN s.keeps_r THEN s.was_r ELSE s.r END AS r, CASE WHEN s.keeps_f THEN s.was_f ELSE s.f END AS f,
           CASE WHEN s.keeps_m THEN s.was_m ELSE s.m END AS m,
           (CASE WHEN s.keeps_r THEN 100 * s.r ELSE 0 END + CASE WHEN s.keeps_f THEN 10 * s.f ELSE 0 END
            + CASE WHEN s.keeps_m THEN s.m ELSE 0 END)::smallint AS held
    FROM (
        SELECT n.*, x.r AS was_r, x.f AS was_f, x.m AS was_m, x.held AS was_held, x.named AS was_named,
               $8::boolean AND n.r <> x.r AND x.held / 100 <> n.r IS TRUE AS keeps_r,
               $8::boolean AND n.f <> x.f AND x.held / 10 % 10 <> n.f IS TRUE AS keeps_f,
               $8::boolean AND n.m <> x.m AND x.held % 10 <> n.m IS TRUE AS keeps_m
        FROM (
            SELECT p.id AS profile,
                   (1 + width_bucket(-greatest(0, floor(extract(epoch FROM $2::timestamptz - p.last_order_at) / 86400))::bigint,
                                     $5::bigint[]))::smallint AS r,
                   (1 + width_bucket(coalesce(b.orders, 0), $6::bigint[]))::smallint AS f,
                   (1 + width_bucket(coalesce(b.net, 0), $7::bigint[]))::smallint AS m
            FROM profile p LEFT JOIN (
                SELECT o.profile, count(*) AS orders,
                       coalesce(sum(o.amount - coalesce((o.refunded ->> o.currency)::bigint, 0)
                                    - CASE WHEN o.currency = '' THEN 0 ELSE coalesce((o.refunded ->> '')::bigint, 0) END)
                                FILTER (WHERE coalesce(nullif(o.currency, ''), 'XXX') = $4::text), 0)::bigint AS net
                FROM person_order o
                WHERE o.bucket = $1::int AND o.is_counted AND o.placed_at > $3::timestamptz AND o.placed_at <= $2::timestamptz
                GROUP BY o.profile) b ON b.profile = p.id
            WHERE p.bucket = $1::int AND p.last_order_at IS NOT NULL) n
        LEFT JOIN rfm x ON x.bucket = $1::int AND x.profile = n.profile) s) h
