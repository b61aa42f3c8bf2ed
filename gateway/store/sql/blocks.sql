-- name: block_upto
-- Find how far the answers of a lane were read.
-- index: block_upto_pkey
SELECT at FROM block_upto WHERE lane = $1::int;

-- name: note_block_upto
-- Note how far the answers of a lane were read.
-- index: block_upto_pkey, as the arbiter
INSERT INTO block_upto (lane, at) VALUES ($1::int, $2::timestamptz)
ON CONFLICT (lane) DO UPDATE SET at = greatest(block_upto.at, excluded.at);

-- name: blocking_outcomes
-- Read the messages of a lane whose response had one of some statuses, from a moment on, to whom they were.
-- index: outcome_failed (lane, at), of the partitions since then; chunk_payload_pkey
SELECT o.chunk_id, o.pos, o.at, o.status, p.msisdn[o.pos + 1] AS number
FROM outcome o JOIN chunk_payload p ON p.lane = o.lane AND p.chunk_id = o.chunk_id
WHERE o.lane = $1::int AND p.lane = $1::int AND o.status > 0 AND o.status = ANY($2::int[])
  AND o.at >= $3::timestamptz AND o.at < $4::timestamptz
ORDER BY o.at LIMIT $5::int;

-- name: blocking_receipts
-- Read the messages of a lane whose receipt says a failure with one of some codes, from a moment on, to whom they were.
-- index: receipt_failed (lane, at), of the partitions since then; chunk_payload_pkey
SELECT r.chunk_id, r.pos, r.at, r.err, p.msisdn[r.pos + 1] AS number
FROM receipt r JOIN chunk_payload p ON p.lane = r.lane AND p.chunk_id = r.chunk_id
WHERE r.lane = $1::int AND p.lane = $1::int AND r.state IN (3, 4, 5, 8, 9) AND r.err = ANY($2::text[])
  AND r.at >= $3::timestamptz AND r.at < $4::timestamptz
ORDER BY r.at LIMIT $5::int;

-- name: add_strikes
-- Count messages against numbers of a bucket, each message once.
-- index: strike_pkey, as the arbiter
INSERT INTO strike (bucket, number, kind, lane, chunk_id, pos, at)
SELECT $1::int, number, kind, $2::int, chunk_id, pos, at
FROM unnest($3::bigint[], $4::text[], $5::bigint[], $6::int[], $7::timestamptz[]) AS c (number, kind, chunk_id, pos, at)
ON CONFLICT (bucket, number, kind, lane, chunk_id, pos) DO NOTHING;

-- name: strikes_of
-- Read what counts against some numbers of a bucket since a moment.
-- index: strike_pkey
SELECT number, kind, at FROM strike
WHERE bucket = $1::int AND number = ANY($2::bigint[]) AND at >= $3::timestamptz;

-- name: forget_strikes
-- Forget what is too old to count, of a bucket.
-- index: strike_pkey, whose bucket is read whole
DELETE FROM strike WHERE bucket = $1::int AND at < $2::timestamptz;
