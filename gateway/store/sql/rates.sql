-- name: add_rate_plan
-- Keep what was said of how fast a run goes.
-- index: rate_plan_pkey, as the arbiter
INSERT INTO rate_plan (run, plan, total, per_s, goes_to)
VALUES ($1::bigint, $2::text::jsonb, $3::bigint, $4::double precision, $5::bigint)
ON CONFLICT (run) DO NOTHING;

-- name: rate_plan_of
-- Read the plan of a run, and how far it is.
-- index: rate_plan_pkey
SELECT run, plan::text AS plan, total, per_s, credit, credit_at, granted, goes_to, stage, held_since, is_told, started_at,
       skipped, spent, looked_at, is_over
FROM rate_plan WHERE run = $1::bigint;

-- name: live_rate_plans
-- Read the plans of all runs that are not over.
-- index: rate_plan_live (run) WHERE NOT is_over
SELECT run, plan::text AS plan, total, per_s, credit, credit_at, granted, goes_to, stage, held_since, is_told, started_at,
       skipped, spent, looked_at, is_over
FROM rate_plan WHERE NOT is_over ORDER BY run;

-- name: lock_rate_plans
-- Hold the credit of some runs until our transaction ends, in the order of the runs: whoever takes of them too waits.
-- index: rate_plan_pkey
SELECT run, per_s, credit, credit_at, granted, goes_to FROM rate_plan WHERE run = ANY($1::bigint[]) ORDER BY run FOR UPDATE;

-- name: grant_rates
-- Note what was granted of some runs that are held, at $4; the first grant begins the run.
-- index: rate_plan_pkey
UPDATE rate_plan p
SET credit = u.credit, credit_at = $4::timestamptz, granted = u.granted,
    started_at = CASE WHEN u.granted > 0 THEN coalesce(p.started_at, $4::timestamptz) ELSE p.started_at END
FROM unnest($1::bigint[], $2::double precision[], $3::bigint[]) AS u (run, credit, granted)
WHERE p.run = u.run;

-- name: steer_rate
-- Say how a run goes on: its rate, how many may be granted in all, the step of its ramp. What somebody said of the step
-- before counts no more.
-- index: rate_plan_pkey
UPDATE rate_plan
SET per_s = $2::double precision, goes_to = $3::bigint, is_told = is_told AND stage = $4::smallint, stage = $4::smallint,
    held_since = $5::timestamptz, skipped = $6::bigint, spent = $7::double precision, looked_at = $8::timestamptz,
    is_over = $9::boolean
WHERE run = $1::bigint;

-- name: drop_rate_plans
-- Drop the plans of runs that are dropped.
-- index: rate_plan_pkey
DELETE FROM rate_plan WHERE run = ANY($1::bigint[]);

-- name: tell_rate
-- Say that a ramp goes on where it holds; -> whether it held.
-- index: rate_plan_pkey
UPDATE rate_plan SET is_told = true WHERE run = ANY($1::bigint[]) AND NOT is_over AND held_since IS NOT NULL RETURNING run;

-- name: left_of_run
-- Count what of a run has not left on a lane, by country: messages above the watermarks of chunks that are open.
-- index: chunk_run (lane, run)
SELECT country, sum(n - sent_upto)::bigint AS messages FROM chunk
WHERE lane = $1::int AND run = $2::bigint AND state < 2 GROUP BY country;

-- name: tally_outcomes
-- Count what a carrier answered to the messages of a run, by country; $4 = until when a message is old enough for a receipt.
-- A message is its first segment.
-- index: chunk_run (lane, run); outcome_chunk, of the partitions since $3
SELECT k.country,
       count(*) FILTER (WHERE o.status = 0 AND o.segment = 1) AS taken,
       count(*) FILTER (WHERE o.status > 0 AND o.segment = 1) AS refused,
       count(*) FILTER (WHERE o.status < -1 AND o.status <> -17 AND o.segment < 2) AS skipped,
       count(*) FILTER (WHERE o.status = 0 AND o.segment = 1 AND o.at < $4::timestamptz) AS old,
       count(*) FILTER (WHERE o.status = 0) AS parts,
       coalesce(max(o.segments), 0)::int AS longest
FROM outcome o JOIN chunk k ON k.lane = o.lane AND k.id = o.chunk_id
WHERE o.lane = $1::int AND k.lane = $1::int AND k.run = $2::bigint AND o.at >= $3::timestamptz
GROUP BY k.country;

-- name: tally_receipts
-- Count what a carrier reported of the messages of a run; $4 as in tally_outcomes.
-- index: chunk_run (lane, run); receipt is read by partition since $3
SELECT count(*) FILTER (WHERE r.state IN (3, 4, 5, 8, 9)) AS failed, count(DISTINCT (r.chunk_id, r.pos)) AS receipts
FROM receipt r JOIN chunk k ON k.lane = r.lane AND k.id = r.chunk_id
WHERE r.lane = $1::int AND k.lane = $1::int AND k.run = $2::bigint AND r.at >= $3::timestamptz AND r.segment < 2;

-- name: stops_since
-- Read who has said STOP since a moment.
-- index: none, the feed is read from its end; there are few of a run's days
SELECT DISTINCT number FROM stop_feed WHERE at >= $1::timestamptz AND is_stop;

-- name: written_of_run
-- Say which of some numbers are among those that a run has written to on a lane.
-- index: chunk_run (lane, run), chunk_payload_pkey
SELECT count(DISTINCT m.number) FROM chunk k JOIN chunk_payload p ON p.lane = k.lane AND p.chunk_id = k.id
CROSS JOIN LATERAL unnest(p.msisdn) AS m (number)
WHERE k.lane = $1::int AND p.lane = $1::int AND k.run = $2::bigint AND m.number = ANY($3::bigint[]);

-- name: clicks_of_rate
-- Count how often links of a run were opened, and how often since $2: robots come to the site, too.
-- index: click_run (bucket, run)
SELECT count(*) AS clicks, count(*) FILTER (WHERE at >= $2::timestamptz) AS last_minute
FROM click WHERE bucket BETWEEN 0 AND 255 AND run = $1::bigint;
