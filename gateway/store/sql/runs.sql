-- name: lane_of
-- Find the lane of a carrier.
-- index: carrier_name_key
SELECT lane FROM carrier WHERE name = $1::text;

-- name: add_lane
-- Give a carrier the next lane; nothing happens when another process was quicker.
-- index: carrier_pkey
INSERT INTO carrier (lane, name, created_at)
SELECT coalesce(max(lane), 0) + 1, $1::text, $2::timestamptz FROM carrier
ON CONFLICT DO NOTHING;

-- name: lanes
-- Name every lane.
-- index: none, a table of a few rows
SELECT lane, name FROM carrier ORDER BY lane;

-- name: add_run
-- Create a run; -> nothing when the id is taken.
-- index: run_pkey
INSERT INTO run (id, name, template, fields, class, priority, policy, lanes, list, source, not_before, expires_at, created_at)
VALUES ($1::bigint, $2::text, $3::text, $4::text[], $5::smallint, $6::smallint, $7::text, $8::int[], $9::bigint, $10::text,
        $11::timestamptz, $12::timestamptz, $13::timestamptz)
ON CONFLICT (id) DO NOTHING
RETURNING id;

-- name: run_by_id
-- Read one run.
-- index: run_pkey
SELECT id, name, template, fields, class, priority, policy, lanes, list, source, recipients, not_before, expires_at,
       created_at, enqueued_at
FROM run WHERE id = $1::bigint;

-- name: recent_runs
-- Read the newest runs.
-- index: run_pkey
SELECT id, name, template, fields, class, priority, policy, lanes, list, source, recipients, not_before, expires_at,
       created_at, enqueued_at
FROM run ORDER BY id DESC LIMIT $1::int;

-- name: materialise_payload
-- Pack the people of a list into chunks, grouped by a hash; no ORDER BY inside, so nothing is sorted and on several nodes
-- nothing is drawn through one of them. $2 = first chunk id, $3 = chunks a lane, $4 = lanes as often as they weigh,
-- $5 = list; runs.py writes the field names, as parameters, in the place of the empty array.
-- index: list_entry is read whole, by bucket
INSERT INTO chunk_payload (lane, chunk_id, run, msisdn, params)
SELECT lane, $2::bigint + g, $1::bigint, array_agg(number), array_agg(params)
FROM (
    SELECT ($4::int[])[1 + (h / $3::int) % cardinality($4::int[])] AS lane, h % $3::int AS g, number, ARRAY[]::text[] AS params
    FROM (SELECT number, attributes, hashint8(number) & 2147483647 AS h FROM list_entry WHERE list = $5::bigint) e
) people
GROUP BY lane, g
ON CONFLICT (lane, chunk_id) DO NOTHING;

-- name: materialise_chunks
-- Queue the chunks of a run whose payload was written in the same transaction.
-- index: chunk_payload is read by run: its rows are the newest
INSERT INTO chunk (lane, id, run, n, class, priority, not_before)
SELECT p.lane, p.chunk_id, p.run, cardinality(p.msisdn), $2::smallint, $3::smallint, $4::timestamptz
FROM chunk_payload p WHERE p.run = $1::bigint
ON CONFLICT (lane, id) DO NOTHING;

-- name: close_enqueue
-- Note how many people a run has.
-- index: run_pkey
UPDATE run SET recipients = $2::bigint, enqueued_at = $3::timestamptz WHERE id = $1::bigint;

-- name: count_positions
-- Count the people in the chunks of a run, repeats left out.
-- index: chunk_run (lane, run)
SELECT coalesce(sum(n), 0)::bigint FROM chunk WHERE run = $1::bigint AND repeats IS NULL;

-- name: chunk_states
-- Count a run's chunks and positions by state; a position above the watermark of its chunk was not handed out.
-- index: chunk_run (lane, run)
SELECT lane, state, count(*)::bigint AS chunks, sum(n)::bigint AS positions, sum(n - sent_upto)::bigint AS unsent,
       min(not_before) AS not_before
FROM chunk WHERE run = $1::bigint GROUP BY lane, state ORDER BY lane, state;

-- name: open_chunks
-- Count what a run still has to do.
-- index: chunk_run (lane, run)
SELECT count(*)::bigint FROM chunk WHERE run = $1::bigint AND state IN (0, 1);

-- name: queue_by_lane
-- Show how much waits on each lane, by class.
-- index: chunk_ready (lane, class, priority, id) WHERE state = 0
SELECT lane, class, count(*)::bigint AS chunks, sum(n - sent_upto)::bigint AS positions, min(not_before) AS oldest
FROM chunk WHERE state = 0 GROUP BY lane, class ORDER BY lane, class;

-- name: register_worker
-- Enter this process.
-- index: worker_pkey
INSERT INTO worker (instance, host, boot, pid, started_at, seen_at)
VALUES ($1::text, $2::text, $3::text, $4::int, $5::timestamptz, $5::timestamptz);

-- name: worker_seen
-- Say that this process is alive, and how its binds stand.
-- index: worker_pkey
UPDATE worker SET seen_at = $2::timestamptz, report = $3::text::jsonb WHERE instance = $1::text;

-- name: forget_worker
-- Take a process out that is gone.
-- index: worker_pkey
DELETE FROM worker WHERE instance = $1::text;

-- name: workers
-- List the processes known.
-- index: none, a table of a few rows
SELECT instance, host, boot, pid, started_at, seen_at, report::text AS report FROM worker ORDER BY started_at;

-- name: same_run
-- Find a run of the same text to the same list.
-- index: run_pkey
SELECT id, name, template, fields, class, priority, policy, lanes, list, source, recipients, not_before, expires_at,
       created_at, enqueued_at
FROM run WHERE list = $1::bigint AND template = $2::text AND enqueued_at IS NOT NULL ORDER BY id DESC LIMIT 1;
