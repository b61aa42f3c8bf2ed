-- name: add_unwanted
-- Note texts that are not wanted any more, with the reason: the first one of each.
-- index: unwanted_pkey, as the arbiter
INSERT INTO unwanted (bucket, visit, reason, enrolment, outgoing, at)
SELECT k.bucket, k.visit, k.reason, k.enrolment, k.outgoing, $2::timestamptz
FROM unnest($1::int[], $3::int[], $4::smallint[], $5::bigint[], $6::bigint[]) AS k (bucket, visit, reason, enrolment, outgoing)
ON CONFLICT (bucket, enrolment, visit) DO NOTHING;

-- name: add_unwanted_of_enrolments
-- Note the texts that some enrolments have made since a moment ($5), each enrolment with the reason.
-- index: step_run_pkey; unwanted_pkey, as the arbiter
INSERT INTO unwanted (bucket, visit, reason, enrolment, outgoing, at)
SELECT r.bucket, r.visit, k.reason, r.enrolment, r.outgoing, $2::timestamptz
FROM unnest($1::int[], $3::bigint[], $4::smallint[]) AS k (bucket, id, reason)
JOIN step_run r ON r.bucket = k.bucket AND r.enrolment = k.id
WHERE r.outgoing IS NOT NULL AND r.at >= $5::timestamptz
ON CONFLICT (bucket, enrolment, visit) DO NOTHING;

-- name: unwanted_texts
-- Read texts that are to be taken out, the oldest first.
-- index: none: few rows, each for a moment
SELECT bucket, visit, reason, enrolment, outgoing FROM unwanted
WHERE bucket BETWEEN $1::int AND $2::int ORDER BY at LIMIT $3::int;

-- name: drop_unwanted
-- Take away texts that are out, or too late for it.
-- index: unwanted_pkey
DELETE FROM unwanted u USING unnest($1::int[], $2::bigint[], $3::int[]) AS k (bucket, enrolment, visit)
WHERE u.bucket = k.bucket AND u.enrolment = k.enrolment AND u.visit = k.visit;

-- name: outgoing_still
-- Say which of some texts are in no lane yet, whichever bucket they wait in.
-- index: outgoing_pkey: few rows, each for a moment
SELECT id FROM outgoing WHERE bucket BETWEEN $1::int AND $2::int AND id = ANY($3::bigint[]);

-- name: add_outgoing_places
-- Note into which chunk a lane has put what it took, in the transaction that puts it there.
-- index: outgoing_place_pkey, as the arbiter
INSERT INTO outgoing_place (lane, id, chunk_id, at)
SELECT $1::int, k.id, $2::bigint, $3::timestamptz FROM unnest($4::bigint[]) AS k (id)
ON CONFLICT (lane, id) DO NOTHING;

-- name: forget_outgoing_places
-- Forget of a lane what was put into chunks before $2 that are closed and of which nothing went on in another one, and
-- whatever was before $3.
-- index: outgoing_place_pkey, all of the lane; chunk_pkey; repeated_pkey
DELETE FROM outgoing_place p
WHERE p.lane = $1::int AND p.at < $2::timestamptz
  AND (p.at < $3::timestamptz
       OR NOT (EXISTS (SELECT FROM chunk k WHERE k.lane = $1::int AND k.id = p.chunk_id AND k.state <> 2)
               OR EXISTS (SELECT FROM repeated x WHERE x.lane = $1::int AND x.chunk_id = p.chunk_id)));

-- name: outgoing_places
-- Read into which chunks a lane has put some of what it took.
-- index: outgoing_place_pkey
SELECT id, chunk_id FROM outgoing_place WHERE lane = $1::int AND id = ANY($2::bigint[]);

-- name: positions_of_texts
-- Find the texts of some enrolments and visits ($3) in chunks of campaigns ($2), which name them in their last column.
-- index: chunk_payload_pkey; run_pkey
SELECT p.chunk_id, (t.place - 1)::int AS pos, t.key, p.msisdn[t.place] AS number
FROM chunk_payload p JOIN run n ON n.id = p.run
CROSS JOIN LATERAL unnest(p.params[:][cardinality(n.fields):cardinality(n.fields)]) WITH ORDINALITY AS t (key, place)
WHERE p.lane = $1::int AND p.chunk_id = ANY($2::bigint[]) AND t.key = ANY($3::text[]);

-- name: gone_on
-- Say which of some messages went on elsewhere, and in which copy, NULL: in another lane.
-- index: repeated_pkey; chunk_pkey
SELECT x.chunk_id, x.pos, k.id AS copy
FROM unnest($2::bigint[], $3::int[]) AS u (chunk_id, pos)
JOIN repeated x ON x.lane = $1::int AND x.chunk_id = u.chunk_id AND x.pos = u.pos
LEFT JOIN chunk k ON k.lane = $1::int AND k.id = x.by_chunk AND k.repeats = x.chunk_id AND k.from_lane IS NULL
WHERE x.lane = $1::int;

-- name: hold_unclaimed
-- Hold chunks that nobody has claimed until the transaction ends, to take messages out of them; whoever claims them next asks
-- which have gone on elsewhere, since it is not the first claim.
-- index: chunk_pkey; HOT: the epoch stands in no index
UPDATE chunk SET epoch = epoch + 1
WHERE lane = $1::int AND id = ANY(ARRAY(
    SELECT id FROM chunk WHERE lane = $1::int AND id = ANY($2::bigint[]) AND state IN (0, 3) ORDER BY id FOR UPDATE))
RETURNING id, n, sent_upto, epoch, repeats, not_before, first_claimed_at;
