-- name: apply_experiment
-- Keep an experiment under its name: a new one runs, one that is there gets the next version and stays as far as it is.
-- index: experiment_name_key, as the arbiter
INSERT INTO experiment (version, made_at, name, campaign, body)
VALUES (1, $1::timestamptz, $2::text, $3::text, $4::text::jsonb)
ON CONFLICT (name) DO UPDATE
SET version = experiment.version + 1, campaign = excluded.campaign, body = excluded.body
RETURNING id, version;

-- name: add_experiment_version
-- Keep an experiment as it was applied.
-- index: experiment_version_pkey
INSERT INTO experiment_version (experiment, version, at, by, body)
VALUES ($1::bigint, $2::int, $3::timestamptz, $4::text, $5::text::jsonb);

-- name: hold_experiment
-- Read an experiment, and let nobody else change it before our transaction ends.
-- index: experiment_name_key
SELECT id, version, state, winner, stopped, made_at, decided_at, decided_by, why, name, campaign, body::text AS body
FROM experiment WHERE name = $1::text FOR UPDATE;

-- name: experiments
-- Read experiments, all or those that run, in the order of their names.
-- index: experiment_name_key; they are few
SELECT id, version, state, winner, stopped, made_at, decided_at, decided_by, why, name, campaign, body::text AS body
FROM experiment WHERE $1::text = '' OR state = $1::text ORDER BY name;

-- name: experiment_named
-- Read one experiment.
-- index: experiment_name_key
SELECT id, version, state, winner, stopped, made_at, decided_at, decided_by, why, name, campaign, body::text AS body
FROM experiment WHERE name = $1::text;

-- name: experiment_versions
-- Read an experiment as it was applied, each time.
-- index: experiment_version_pkey
SELECT version, body::text AS body FROM experiment_version WHERE experiment = $1::bigint ORDER BY version;

-- name: any_experiment_open
-- Say whether an experiment runs, or waits for a person.
-- index: none: they are few
SELECT EXISTS (SELECT FROM experiment WHERE state IN ('running', 'held'));

-- name: settle_experiment
-- Write down what became of an experiment. Who does holds it.
-- index: experiment_pkey
UPDATE experiment
SET state = $2::text, winner = $3::smallint, decided_at = $4::timestamptz, decided_by = $5::text, why = $6::text
WHERE id = $1::bigint;

-- name: stop_arms
-- Let nobody get some arms of an experiment any more. Who does holds it.
-- index: experiment_pkey
UPDATE experiment SET stopped = $2::smallint[] WHERE id = $1::bigint;

-- name: assign
-- Assign numbers of a bucket to arms; who has one keeps it. In order, so that two who assign the same wait for each other once.
-- index: assignment_pkey, as the arbiter
INSERT INTO assignment (bucket, version, arm, experiment, number, at)
SELECT $1::int, $3::int, k.arm, $2::bigint, k.number, $4::timestamptz
FROM unnest($5::text::bigint[], $6::text::smallint[]) AS k (number, arm)
ORDER BY k.number
ON CONFLICT (bucket, experiment, number) DO NOTHING;

-- name: assign_by_hash
-- Assign numbers of a bucket to the arms that their hash gives them; who has one keeps it, who is in none gets none.
-- $9 version, $10 now, $11 arms that nobody gets any more. In order, as above.
-- index: assignment_pkey, as the arbiter
INSERT INTO assignment (bucket, version, arm, experiment, number, at)
SELECT $1::int, $9::int, z.arm, $2::bigint, z.number, $10::timestamptz
FROM (SELECT k.number, @{arm_of_number} AS arm FROM unnest($3::text::bigint[]) AS k (number)) z
WHERE z.arm >= 0 AND z.arm <> ALL ($11::smallint[])
ORDER BY z.number
ON CONFLICT (bucket, experiment, number) DO NOTHING;

-- name: assigned
-- Read which arms numbers of a bucket have.
-- index: assignment_pkey
SELECT number, arm FROM assignment
WHERE bucket = $1::int AND experiment = $2::bigint AND number = ANY ($3::text::bigint[]);

-- name: reach
-- Write down that the message of numbers of a bucket has left, or of the control would have; the first time stays.
-- index: assignment_pkey
UPDATE assignment SET reached_at = $4::timestamptz
WHERE bucket = $1::int AND experiment = $2::bigint AND number = ANY ($3::text::bigint[]) AND reached_at IS NULL;

-- name: count_arms
-- Count the arms of an experiment in a bucket, by version: who is in them, who was reached, and what they did in their
-- window, which begins with the message and, where there was none, with the assignment. $3 event, $4 its verdict, $5 campaign
-- ('' = any), $6 currency, $7 the window, $8 that of opt-outs and failures, in seconds, $9 now. Refunds are taken off (GL-8).
-- index: assignment_pkey; profile_number; person_event_profile; person_order_placed
WITH person AS (
    SELECT a.number, a.version, a.arm, a.at, a.reached_at, coalesce(a.reached_at, a.at) AS since
    FROM assignment a WHERE a.bucket = $1::int AND a.experiment = $2::bigint AND a.at <= $9::timestamptz
), did AS (
    SELECT n.number,
           bool_or(v.name = $3::text AND ($4::text = '' OR v.properties ->> 'verdict' = $4::text)
                   AND ($5::text = '' OR v.properties ->> 'campaign' = $5::text)
                   AND v.occurred_at < n.since + make_interval(secs => $7::float8)) AS is_converted,
           bool_or(v.name = 'opted_out' AND n.reached_at IS NOT NULL
                   AND v.occurred_at < n.since + make_interval(secs => $8::float8)) AS is_out,
           bool_or(v.name = 'failed' AND n.reached_at IS NOT NULL
                   AND ($10::text = '' OR v.properties ->> 'campaign' = $10::text)
                   AND v.occurred_at < n.since + make_interval(secs => $8::float8)) AS is_failed
    FROM person n
    JOIN profile p ON p.bucket = $1::int AND p.number = n.number
    JOIN person_event v ON v.bucket = $1::int AND v.profile = p.id
    WHERE v.name IN ($3::text, 'opted_out', 'failed') AND v.occurred_at >= n.since AND v.occurred_at <= $9::timestamptz
    GROUP BY n.number
), paid AS (
    SELECT n.number, sum(
        o.amount - coalesce((o.refunded ->> o.currency)::bigint, 0)
        - CASE WHEN o.currency = '' THEN 0 ELSE coalesce((o.refunded ->> '')::bigint, 0) END)::float8 AS net
    FROM person n
    JOIN profile p ON p.bucket = $1::int AND p.number = n.number
    JOIN person_order o ON o.bucket = $1::int AND o.profile = p.id
    WHERE $6::text <> '' AND o.is_counted AND coalesce(nullif(o.currency, ''), 'XXX') = $6::text
      AND o.placed_at >= n.since AND o.placed_at < n.since + make_interval(secs => $7::float8)
      AND o.placed_at <= $9::timestamptz
    GROUP BY n.number
)
SELECT n.version, n.arm, min(n.at) AS first_at, count(*) AS people,
       count(*) FILTER (WHERE d.is_converted) AS conversions, count(*) FILTER (WHERE m.net > 0) AS payers,
       coalesce(sum(m.net), 0)::float8 AS revenue, coalesce(sum(m.net * m.net), 0)::float8 AS squares,
       count(*) FILTER (WHERE n.reached_at IS NOT NULL) AS reached,
       count(*) FILTER (WHERE n.reached_at IS NOT NULL AND d.is_converted) AS reached_conversions,
       count(*) FILTER (WHERE n.reached_at IS NOT NULL AND m.net > 0) AS reached_payers,
       coalesce(sum(m.net) FILTER (WHERE n.reached_at IS NOT NULL), 0)::float8 AS reached_revenue,
       coalesce(sum(m.net * m.net) FILTER (WHERE n.reached_at IS NOT NULL), 0)::float8 AS reached_squares,
       count(*) FILTER (WHERE d.is_out) AS opt_outs, count(*) FILTER (WHERE d.is_failed) AS failures
FROM person n LEFT JOIN did d ON d.number = n.number LEFT JOIN paid m ON m.number = n.number
GROUP BY n.version, n.arm;

-- name: erase_assignments
-- Drop to which arms numbers were assigned.
-- index: assignment_pkey finds the bucket
DELETE FROM assignment WHERE bucket = $1::int AND number = ANY ($2::bigint[]);
