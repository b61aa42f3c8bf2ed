-- name: newest_rfm
-- Read the newest version of the scores.
-- index: rfm_version_pkey
SELECT version, at, currency, buyers, limits::text AS limits, upto, done_at FROM rfm_version ORDER BY version DESC LIMIT 1;

-- name: hold_newest_rfm
-- Read the newest version of the scores, and let nobody else go on with it before our transaction ends.
-- index: rfm_version_pkey
SELECT version, at, currency, buyers, limits::text AS limits, upto, done_at
FROM rfm_version ORDER BY version DESC LIMIT 1 FOR UPDATE;

-- name: add_rfm_version
-- Begin a version of the scores.
-- index: rfm_version_pkey
INSERT INTO rfm_version (version, at, currency, buyers, limits)
VALUES ($1::int, $2::timestamptz, $3::text, $4::bigint, $5::text::jsonb);

-- name: note_rfm_version
-- Write down up to which bucket people have the scores of a version.
-- index: rfm_version_pkey
UPDATE rfm_version SET upto = $2::int, done_at = $3::timestamptz WHERE version = $1::int;

-- name: currency_of_most
-- Find the currency in which most people have paid.
-- index: none: all people, once a night
SELECT k.currency FROM profile p, jsonb_object_keys(p.spent) AS k (currency)
WHERE p.last_order_at IS NOT NULL GROUP BY k.currency ORDER BY count(*) DESC, k.currency LIMIT 1;

-- name: least_recencies
-- Find how long ago the last order is, negative in days, from which on each score is given.
-- index: none: all people, once a night
WITH found AS (
    SELECT -greatest(0, floor(extract(epoch FROM $1::timestamptz - p.last_order_at) / 86400))::bigint AS v, count(*) AS n
    FROM profile p WHERE p.last_order_at IS NOT NULL GROUP BY 1)
SELECT max(buyers)::bigint AS buyers, min(v) FILTER (WHERE score >= 2) AS two, min(v) FILTER (WHERE score >= 3) AS three,
       min(v) FILTER (WHERE score >= 4) AS four, min(v) FILTER (WHERE score >= 5) AS five @{least_values};

-- name: least_frequencies
-- Find how many orders each score is given for.
-- index: none: all people and their orders, once a night
WITH found AS (
    SELECT coalesce(b.orders, 0) AS v, count(*) AS n FROM profile p LEFT JOIN (
        SELECT o.bucket, o.profile, count(*) AS orders FROM person_order o
        WHERE o.is_counted AND o.placed_at > $2::timestamptz AND o.placed_at <= $1::timestamptz
        GROUP BY o.bucket, o.profile) b ON b.bucket = p.bucket AND b.profile = p.id
    WHERE p.last_order_at IS NOT NULL GROUP BY 1)
SELECT max(buyers)::bigint AS buyers, min(v) FILTER (WHERE score >= 2) AS two, min(v) FILTER (WHERE score >= 3) AS three,
       min(v) FILTER (WHERE score >= 4) AS four, min(v) FILTER (WHERE score >= 5) AS five @{least_values};

-- name: least_moneys
-- Find what has to be paid for each score.
-- index: none: all people and their orders, once a night
WITH found AS (
    SELECT coalesce(b.net, 0) AS v, count(*) AS n FROM profile p LEFT JOIN (
        SELECT o.bucket, o.profile, sum(
            o.amount - coalesce((o.refunded ->> o.currency)::bigint, 0)
            - CASE WHEN o.currency = '' THEN 0 ELSE coalesce((o.refunded ->> '')::bigint, 0) END)::bigint AS net
        FROM person_order o
        WHERE o.is_counted AND o.placed_at > $2::timestamptz AND o.placed_at <= $1::timestamptz
          AND coalesce(nullif(o.currency, ''), 'XXX') = $3::text
        GROUP BY o.bucket, o.profile) b ON b.bucket = p.bucket AND b.profile = p.id
    WHERE p.last_order_at IS NOT NULL GROUP BY 1)
SELECT max(buyers)::bigint AS buyers, min(v) FILTER (WHERE score >= 2) AS two, min(v) FILTER (WHERE score >= 3) AS three,
       min(v) FILTER (WHERE score >= 4) AS four, min(v) FILTER (WHERE score >= 5) AS five @{least_values};

-- name: mark_rescored
-- Hold those of a bucket whose scores are about to change, and have them looked at; $1 to $9 as of the piece `rescored`.
-- index: profile_pkey; person_order_placed; rfm_pkey; person_changed_pkey, as the arbiter
INSERT INTO person_changed (bucket, profile, at)
SELECT $1::int, z.profile, $2::timestamptz FROM (
    SELECT c.profile FROM (@{rescored}) c
    WHERE (c.r, c.f, c.m, c.held, c.named) IS DISTINCT FROM (c.was_r, c.was_f, c.was_m, c.was_held, c.was_named)
    UNION ALL
    SELECT x.profile FROM rfm x WHERE x.bucket = $1::int AND NOT EXISTS (
        SELECT FROM profile p WHERE p.bucket = $1::int AND p.id = x.profile AND p.last_order_at IS NOT NULL)) z
ORDER BY z.profile
ON CONFLICT (bucket, profile) DO UPDATE SET at = excluded.at
RETURNING profile;

-- name: write_rescored
-- Write the scores of those who are held: $10 who, $11 the version; the others as of the piece `rescored`.
-- index: profile_pkey; person_order_placed; rfm_pkey, as the arbiter
INSERT INTO rfm (bucket, version, profile, r, f, m, held, named)
SELECT $1::int, $11::int, c.profile, c.r, c.f, c.m, c.held, c.named FROM (@{rescored}) c WHERE c.profile = ANY($10::bigint[])
ON CONFLICT (bucket, profile) DO UPDATE
SET version = excluded.version, r = excluded.r, f = excluded.f, m = excluded.m, held = excluded.held, named = excluded.named;

-- name: drop_unscored
-- Drop the scores of those who are held and are no buyers any more.
-- index: rfm_pkey; profile_pkey
DELETE FROM rfm x WHERE x.bucket = $1::int AND x.profile = ANY($2::bigint[]) AND NOT EXISTS (
    SELECT FROM profile p WHERE p.bucket = $1::int AND p.id = x.profile AND p.last_order_at IS NOT NULL);

-- name: rfm_groups
-- Count who is in each group.
-- index: none: all scores; asked by a person
SELECT named, count(*) AS people FROM rfm GROUP BY named;

-- name: look_at_bucket
-- Read a bucket of each table by its index and join them by hash for the rest of the transaction: a planner that has seen
-- the tables small would look up the orders of one person after another, or read all buckets for each.
-- index: none: no table
SELECT set_config('enable_nestloop', 'off', true), set_config('enable_seqscan', 'off', true),
       set_config('work_mem', '64MB', true);

-- name: look_at_all
-- Read tables as wholes for the rest of the transaction: sums of all people are hashed in memory, and take their time.
-- index: none: no table
SELECT set_config('work_mem', '128MB', true), set_config('statement_timeout', ($1::int * 1000)::text, true);
