-- name: texts_made_lately
-- Read the texts that campaigns have made for some persons since a moment: (bucket, profile, campaign).
-- index: enrolment_profile; step_run_pkey
SELECT e.bucket, e.id AS enrolment, e.campaign, e.version, e.profile, e.anchor_at, r.step, r.visit, r.run, r.at AS made_at,
       r.outgoing
FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS k (bucket, profile, campaign)
JOIN enrolment e ON e.bucket = k.bucket AND e.profile = k.profile AND e.campaign = k.campaign
JOIN step_run r ON r.bucket = e.bucket AND r.enrolment = e.id
WHERE r.run IS NOT NULL AND r.at >= $4::timestamptz;

-- name: add_excepted
-- Note texts that an exception has met: the first one of each.
-- index: excepted_pkey, as the arbiter
INSERT INTO excepted (bucket, visit, state, enrolment, profile, run, happened_at, told_at, planned_at, found_at, campaign, name)
SELECT k.bucket, k.visit, k.state, k.enrolment, k.profile, k.run, k.happened_at, k.told_at, k.planned_at, $2::timestamptz,
       k.campaign, k.name
FROM unnest($1::int[], $3::int[], $4::smallint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::timestamptz[], $9::timestamptz[],
            $10::timestamptz[], $11::text[], $12::text[])
     AS k (bucket, visit, state, enrolment, profile, run, happened_at, told_at, planned_at, campaign, name)
ON CONFLICT (bucket, enrolment, visit) DO NOTHING;

-- name: prevented_at_gate
-- Note texts of a run ($3), of a campaign ($4), that the gate refuses for an exception: they were to leave now.
-- index: enrolment_pkey; excepted_pkey, as the arbiter
INSERT INTO excepted (bucket, visit, state, enrolment, profile, run, happened_at, told_at, planned_at, found_at, campaign, name)
SELECT e.bucket, k.visit, 1, e.id, e.profile, $3::bigint, k.happened_at, k.happened_at, $2::timestamptz, $2::timestamptz,
       $4::text, k.name
FROM unnest($1::int[], $5::bigint[], $6::int[], $7::timestamptz[], $8::text[]) AS k (bucket, id, visit, happened_at, name)
JOIN enrolment e ON e.bucket = k.bucket AND e.id = k.id
ON CONFLICT (bucket, enrolment, visit) DO UPDATE SET state = 1, planned_at = excluded.planned_at WHERE excepted.state = 0;

-- name: prevented_in_queue
-- Say of texts that were open that they were taken out of the queue, and when they were to leave.
-- index: excepted_pkey
UPDATE excepted x SET state = 1, planned_at = k.planned_at
FROM unnest($1::int[], $2::bigint[], $3::int[], $4::timestamptz[]) AS k (bucket, enrolment, visit, planned_at)
WHERE x.bucket = k.bucket AND x.enrolment = k.enrolment AND x.visit = k.visit AND x.state = 0;

-- name: has_excepted
-- Say whether it is open what became of any text, or what the carrier says of one.
-- index: excepted_open; excepted_asked
SELECT EXISTS (SELECT FROM excepted WHERE state = 0) OR EXISTS (SELECT FROM excepted WHERE cancel = 1);

-- name: open_excepted
-- Read texts of which it is open what became of them, found behind a moment and a text, the oldest first, with the number of who
-- it is for, and what the text went into.
-- index: excepted_open; enrolment_pkey; step_run_pkey
SELECT x.bucket, x.enrolment, x.visit, x.profile, x.run, x.campaign, x.name, x.happened_at, x.told_at, x.planned_at, x.found_at, e.number,
       r.outgoing
FROM excepted x LEFT JOIN enrolment e ON e.bucket = x.bucket AND e.id = x.enrolment
LEFT JOIN step_run r ON r.bucket = x.bucket AND r.enrolment = x.enrolment AND r.visit = x.visit
WHERE x.state = 0 AND (x.found_at, x.enrolment, x.visit) > ($1::timestamptz, $2::bigint, $3::int)
ORDER BY x.found_at, x.enrolment, x.visit LIMIT $4::int;

-- name: ends_of_texts
-- Read what was told of the texts of some enrolments since they were made: that they left, and their ends.
-- index: person_event_profile
SELECT k.enrolment, k.visit, v.name, v.event_id, v.occurred_at, (v.properties ->> 'status')::int AS status
FROM unnest($1::int[], $2::bigint[], $3::bigint[], $4::int[], $5::bigint[], $6::timestamptz[])
     AS k (bucket, profile, enrolment, visit, run, made_at)
JOIN person_event v ON v.bucket = k.bucket AND v.profile = k.profile
    AND v.name IN ('submitted', 'delivered', 'failed', 'expired', 'skipped') AND v.occurred_at >= k.made_at
WHERE v.source = 'sluice' AND v.properties ->> 'enrolment' = k.enrolment::text AND v.properties ->> 'run' = k.run::text
ORDER BY v.occurred_at;

-- name: fed_lanes_upto
-- Read up to when all outcomes and receipts of lanes were told.
-- index: person_feed_pkey: a few rows
SELECT lane, min(upto) AS upto FROM person_feed WHERE kind IN ('outcomes', 'receipts') GROUP BY lane HAVING count(*) = 2;

-- name: ends_lately
-- Read what came of some messages of a lane, chunks $2 and places $3, since a moment ($4) up to which all is told already.
-- index: outcome_at and receipt_at (brin), of the partitions since then
SELECT o.chunk_id, o.pos, o.at, false AS is_receipt, o.status FROM outcome o
WHERE o.lane = $1::int AND o.at >= $4::timestamptz AND o.chunk_id = ANY($2::bigint[]) AND o.segment <= 1 AND o.status <> -1
  AND (o.chunk_id, o.pos) IN (SELECT k.chunk_id, k.pos FROM unnest($2::bigint[], $3::int[]) AS k (chunk_id, pos))
UNION ALL
SELECT r.chunk_id, r.pos, r.at, true, r.state FROM receipt r
WHERE r.lane = $1::int AND r.at >= $4::timestamptz AND r.chunk_id = ANY($2::bigint[]) AND r.segment <= 1
  AND r.state IN (2, 3, 4, 5, 8, 9)
  AND (r.chunk_id, r.pos) IN (SELECT k.chunk_id, k.pos FROM unnest($2::bigint[], $3::int[]) AS k (chunk_id, pos))
ORDER BY 3;

-- name: end_excepted
-- Say of texts that were open that they had left: which message each is, and whether the carrier is asked to take it back.
-- index: excepted_pkey
UPDATE excepted x SET state = 2, lane = k.lane, chunk = k.chunk, pos = k.pos, cancel = k.cancel
FROM unnest($1::int[], $2::bigint[], $3::int[], $4::int[], $5::bigint[], $6::int[], $7::smallint[])
     AS k (bucket, enrolment, visit, lane, chunk, pos, cancel)
WHERE x.bucket = k.bucket AND x.enrolment = k.enrolment AND x.visit = k.visit AND x.state = 0;

-- name: asked_excepted
-- Read late texts that the carrier is asked to take back.
-- index: excepted_asked
SELECT bucket, enrolment, visit, lane, chunk, pos FROM excepted WHERE cancel = 1 LIMIT $1::int;

-- name: answer_excepted
-- Write what the carrier said of late texts (2 it has taken one back, 3 it has not).
-- index: excepted_pkey
UPDATE excepted x SET cancel = k.cancel
FROM unnest($1::int[], $2::bigint[], $3::int[], $4::smallint[]) AS k (bucket, enrolment, visit, cancel)
WHERE x.bucket = k.bucket AND x.enrolment = k.enrolment AND x.visit = k.visit AND x.cancel = 1;

-- name: forget_excepted
-- Forget texts of which it was open what became of them: the exception came behind their end, or they never left.
-- index: excepted_pkey
DELETE FROM excepted x USING unnest($1::int[], $2::bigint[], $3::int[]) AS k (bucket, enrolment, visit)
WHERE x.bucket = k.bucket AND x.enrolment = k.enrolment AND x.visit = k.visit AND x.state = 0;
