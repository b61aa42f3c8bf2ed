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
INSERT INTO run (id, name, template, fields, class, priority, policy, lanes, list, source, not_before, expires_at, created_at,
                 encoding, receipt_policy, gate, is_test)
VALUES ($1::bigint, $2::text, $3::text, $4::text[], $5::smallint, $6::smallint, $7::text, $8::int[], $9::bigint, $10::text,
        $11::timestamptz, $12::timestamptz, $13::timestamptz, $14::text::jsonb, $15::text, $16::text::jsonb, $17::boolean)
ON CONFLICT (id) DO NOTHING
RETURNING id;

-- name: run_by_id
-- Read one run.
-- index: run_pkey
SELECT id, name, template, fields, class, priority, policy, lanes, list, source, recipients, not_before, expires_at,
       created_at, enqueued_at, encoding::text AS encoding, receipt_policy, gate::text AS gate, cancelled_at, cancelled_by, is_test
FROM run WHERE id = $1::bigint;

-- name: recent_runs
-- Read the newest runs.
-- index: run_pkey
SELECT id, name, template, fields, class, priority, policy, lanes, list, source, recipients, not_before, expires_at,
       created_at, enqueued_at, encoding::text AS encoding, receipt_policy, gate::text AS gate, cancelled_at, cancelled_by, is_test
FROM run ORDER BY id DESC LIMIT $1::int;

-- name: lock_run
-- Hold a run while its people are enqueued; -> when they were, how many, and when it was cancelled, by whom.
-- index: run_pkey
SELECT enqueued_at, recipients, cancelled_at, cancelled_by FROM run WHERE id = $1::bigint FOR UPDATE;

-- name: sample_cells
-- Count the people of some buckets of a list by the cell of the plan that they fall into: how many chunks each will need.
-- $2 = buckets; $3 = lowest number of each range on 15 digits, $4 and $5 = its first slot and how many, $6 = cell of a slot.
-- index: list_entry_pkey (bucket, list, number)
SELECT ($6::int[])[($4::int[])[range] + 1 + ((once # (once >> 13)) * 69621 % 2147483647 >> 8) % ($5::int[])[range]] AS cell,
       count(*)::bigint AS people
FROM (
    SELECT number % 1000003 * 48271 % 2147483647 AS once,
           width_bucket(number * CASE
               WHEN number >= 100000000000000 THEN 1 WHEN number >= 10000000000000 THEN 10
               WHEN number >= 1000000000000 THEN 100 WHEN number >= 100000000000 THEN 1000
               WHEN number >= 10000000000 THEN 10000 WHEN number >= 1000000000 THEN 100000
               WHEN number >= 100000000 THEN 1000000 WHEN number >= 10000000 THEN 10000000
               WHEN number >= 1000000 THEN 100000000 ELSE 10 ^ (15 - length(number::text)) END::bigint,
               $3::bigint[]) AS range
    FROM list_entry WHERE list = $1::bigint AND bucket = ANY($2::int[])
    OFFSET 0
) ranged
GROUP BY 1;

-- name: materialise_payload
-- Pack the people of a list into chunks, grouped by a hash; no ORDER BY inside, so nothing is sorted and on several nodes
-- nothing is drawn through one of them. A number lies in a range of the plan, its share picks one of the range's slots,
-- the slot names the cell, and a hash the chunk of the cell: all of it look-ups in arrays.
-- $2 = first chunk id, $3 = list, $4 to $7 = the plan, as $3 to $6 of sample_cells, $8 = first chunk of each cell, $9 = how
-- many it has, $10 = its lane; runs.py writes the field names, as parameters, in the place of the empty array, and for a
-- gated run the share of a page in the place of that of a hash.
-- OFFSET 0: else the planner writes the look-up out wherever its result is used, and does it as often.
-- index: list_entry is read whole, by bucket
INSERT INTO chunk_payload (lane, chunk_id, run, msisdn, params)
SELECT ($10::int[])[width_bucket(chunk, $8::int[])], $2::bigint + chunk, $1::bigint, numbers, params
FROM (
    SELECT chunk, array_agg(number) AS numbers, array_agg(params) AS params
    FROM (
        SELECT ($8::int[])[cell + 1] + h % ($9::int[])[cell + 1] AS chunk, number, ARRAY[]::text[] AS params
        FROM (
            SELECT number, bucket, once, attributes, hashint8(number) & 2147483647 AS h,
                   ($7::int[])[($5::int[])[range] + 1
                               + ((once # (once >> 13)) * 69621 % 2147483647 >> 8) % ($6::int[])[range]] AS cell
            FROM (
                SELECT number, bucket, attributes, number % 1000003 * 48271 % 2147483647 AS once,
                       width_bucket(number * CASE
                           WHEN number >= 100000000000000 THEN 1 WHEN number >= 10000000000000 THEN 10
                           WHEN number >= 1000000000000 THEN 100 WHEN number >= 100000000000 THEN 1000
                           WHEN number >= 10000000000 THEN 10000 WHEN number >= 1000000000 THEN 100000
                           WHEN number >= 100000000 THEN 1000000 WHEN number >= 10000000 THEN 10000000
                           WHEN number >= 1000000 THEN 100000000 ELSE 10 ^ (15 - length(number::text)) END::bigint,
                           $4::bigint[]) AS range
                FROM list_entry WHERE list = $3::bigint
                OFFSET 0
            ) ranged
            OFFSET 0
        ) placed
    ) people
    GROUP BY chunk
) chunks
ON CONFLICT (lane, chunk_id) DO NOTHING;

-- name: materialise_chunks
-- Queue the chunks of a run whose payload was written in the same transaction. $5 = first chunk id; by cell: $6 = its first
-- chunk, $7 = country, $8 = sender, $9 = fallback lanes, written as arrays, $10 = whether anybody takes it: chunks of a
-- cell without a carrier are closed.
-- index: chunk_payload is read by run: its rows are the newest
INSERT INTO chunk (lane, id, run, n, class, priority, not_before, country, source, fallback, state, sent_upto)
SELECT lane, chunk_id, run, n, $2::smallint, $3::smallint, $4::timestamptz, ($7::smallint[])[cell], ($8::text[])[cell],
       ($9::text[])[cell]::int[], CASE WHEN ($10::boolean[])[cell] THEN 0 ELSE 2 END,
       CASE WHEN ($10::boolean[])[cell] THEN 0 ELSE n END
FROM (
    SELECT p.lane, p.chunk_id, p.run, cardinality(p.msisdn) AS n,
           width_bucket((p.chunk_id - $5::bigint)::int, $6::int[]) AS cell
    FROM chunk_payload p WHERE p.run = $1::bigint
) payload
ON CONFLICT (lane, id) DO NOTHING;

-- name: refuse_unrouted
-- Write down the people whom no carrier takes: they are in the chunks of a run that were closed when they were made.
-- index: chunk_run (lane, run)
INSERT INTO outcome (lane, chunk_id, pos, segment, segments, epoch, status, at, rtt_us, message_id)
SELECT k.lane, k.id, pos, 0, 0, 0, $2::int, $3::timestamptz, 0, NULL
FROM chunk k CROSS JOIN LATERAL generate_series(0, k.n - 1) AS pos
WHERE k.run = $1::bigint AND k.state = 2;

-- name: tell_urgent
-- Wake the dispatchers of some lanes; heard when the transaction commits. The lanes are handed in: read from a distributed
-- table here they would be told of on the nodes, where nobody listens.
-- index: none, it reads no table
SELECT pg_notify($1::text, lane::text) FROM unnest($2::int[]) AS lane;

-- name: next_chunk_id
-- Find the first free chunk id of a run on a lane, below those of repeats.
-- index: chunk_pkey
SELECT greatest(coalesce(max(id), -1) + 1, $2::bigint) FROM chunk
WHERE lane = $1::int AND id >= $2::bigint AND id < $3::bigint;

-- name: add_payload
-- Enqueue a few people on one lane: their numbers and values.
-- index: chunk_payload_pkey
INSERT INTO chunk_payload (lane, chunk_id, run, msisdn, params) VALUES ($1::int, $2::bigint, $3::bigint, $4::bigint[], $5::text[]);

-- name: add_chunk
-- Queue the chunk of a few people.
-- index: chunk_pkey
INSERT INTO chunk (lane, id, run, n, class, priority, not_before, country, source, fallback)
VALUES ($1::int, $2::bigint, $3::bigint, $4::int, $5::smallint, $6::smallint, $7::timestamptz, $8::smallint, $9::text, $10::int[]);

-- name: add_recipients
-- Note that a run has so many people more.
-- index: run_pkey
UPDATE run SET recipients = recipients + $2::bigint, enqueued_at = coalesce(enqueued_at, $3::timestamptz) WHERE id = $1::bigint;

-- name: close_enqueue
-- Note how many people a run has.
-- index: run_pkey
UPDATE run SET recipients = $2::bigint, enqueued_at = $3::timestamptz WHERE id = $1::bigint;

-- name: count_positions
-- Count the people in the chunks of a run, repeats left out.
-- index: chunk_run (lane, run)
SELECT coalesce(sum(n), 0)::bigint FROM chunk WHERE run = $1::bigint AND repeats IS NULL;

-- name: chunk_states
-- Count a run's chunks and positions by state; a position above the watermark of its chunk was not handed out;
-- of a chunk that was moved it stands in another one.
-- index: chunk_run (lane, run)
SELECT lane, state, count(*)::bigint AS chunks, sum(n)::bigint AS positions, sum(CASE WHEN state = 5 THEN 0 ELSE n - sent_upto END)::bigint AS unsent,
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

-- name: worker_seen
-- Say how the binds of this process stand.
-- index: worker_pkey
UPDATE worker SET seen_at = $2::timestamptz, report = $3::text::jsonb WHERE instance = $1::text;

-- name: workers
-- List the processes known.
-- index: none, a table of a few rows
SELECT instance, host, boot, pid, started_at, seen_at, node, place, carriers, beat, report::text AS report
FROM worker ORDER BY started_at;

-- name: same_run
-- Find a run of the same text to the same list.
-- index: run_pkey
SELECT id, name, template, fields, class, priority, policy, lanes, list, source, recipients, not_before, expires_at,
       created_at, enqueued_at, encoding::text AS encoding, receipt_policy, gate::text AS gate, cancelled_at, cancelled_by, is_test
FROM run WHERE list = $1::bigint AND template = $2::text AND enqueued_at IS NOT NULL ORDER BY id DESC LIMIT 1;
