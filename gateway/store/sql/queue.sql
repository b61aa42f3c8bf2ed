-- name: claim
-- Take the next chunks of a lane, past those that others are taking; their payload leaves by a COPY of its own.
-- ARRAY: as a join the planner may run the inner statement once a row, and each time its LIMIT finds other chunks.
-- index: chunk_ready (lane, class, priority, id) WHERE state = 0
UPDATE chunk
SET state = 1, owner = $2::text, epoch = epoch + 1, lease_until = $3::timestamptz,
    first_claimed_at = coalesce(first_claimed_at, $4::timestamptz)
WHERE lane = $1::int AND id = ANY(ARRAY(
    SELECT id FROM chunk
    WHERE lane = $1::int AND state = 0 AND not_before <= $4::timestamptz
    ORDER BY class, priority, id LIMIT $5::int
    FOR UPDATE SKIP LOCKED
))
RETURNING id, epoch;

-- name: claimed_payload
-- Read claimed chunks as the columns that _fastpath.batch.read_batches takes, the most urgent first.
-- index: chunk_pkey, chunk_payload_pkey
SELECT k.id, k.run, k.epoch, k.sent_upto, p.msisdn, p.params
FROM chunk k JOIN chunk_payload p ON p.lane = k.lane AND p.chunk_id = k.id
WHERE k.lane = $1::int AND p.lane = $1::int AND k.id = ANY($2::bigint[])
ORDER BY k.class, k.priority, k.id;

-- name: advance
-- Move watermarks forward and renew leases; -> the chunks that are still ours. Of two marks for one chunk the higher counts:
-- an UPDATE that finds two rows for one takes either.
-- index: chunk_pkey; HOT: neither sent_upto nor lease_until stands in an index
UPDATE chunk k
SET sent_upto = greatest(k.sent_upto, u.upto), lease_until = $5::timestamptz
FROM (
    SELECT id, epoch, max(upto) AS upto FROM unnest($2::bigint[], $3::int[], $4::int[]) AS m (id, epoch, upto)
    GROUP BY id, epoch
) AS u
WHERE k.lane = $1::int AND k.id = u.id AND k.epoch = u.epoch AND k.state = 1
RETURNING k.id;

-- name: finish
-- Close chunks whose every segment has its outcome.
-- index: chunk_pkey
UPDATE chunk k
SET state = 2, sent_upto = k.n, lease_until = NULL, owner = NULL
FROM unnest($2::bigint[], $3::int[]) AS u (id, epoch)
WHERE k.lane = $1::int AND k.id = u.id AND k.epoch = u.epoch AND k.state = 1
RETURNING k.id;

-- name: release
-- Give chunks back: what stands above the watermark, which is set to what really left, was never sent.
-- index: chunk_pkey
UPDATE chunk k
SET state = CASE WHEN u.upto >= k.n THEN 2 ELSE 0 END, sent_upto = u.upto, lease_until = NULL, owner = NULL
FROM unnest($2::bigint[], $3::int[], $4::int[]) AS u (id, epoch, upto)
WHERE k.lane = $1::int AND k.id = u.id AND k.epoch = u.epoch AND k.state = 1
RETURNING k.id;

-- name: hold_chunks
-- Set claimed chunks aside: their run cannot be composed for this carrier, or they cannot be read.
-- index: chunk_pkey
UPDATE chunk k SET state = 3, lease_until = NULL, owner = NULL
FROM unnest($2::bigint[], $3::int[]) AS u (id, epoch)
WHERE k.lane = $1::int AND k.id = u.id AND k.epoch = u.epoch AND k.state = 1
RETURNING k.id;

-- name: disown
-- Give back what a worker has claimed and does not have in hand ($3 = what it has): a claim whose answer was lost. Nothing
-- of it was sent at this epoch, so its watermark is exact.
-- index: chunk_claimed (lane, id) WHERE state = 1
UPDATE chunk SET state = CASE WHEN sent_upto >= n THEN 2 ELSE 0 END, lease_until = NULL, owner = NULL
WHERE lane = $1::int AND state = 1 AND owner = $2::text AND id <> ALL($3::bigint[])
RETURNING id;

-- name: note_flush
-- Say that this flush is committed, first of all it does: where a COMMIT got no answer the repeat waits here for the
-- transaction before it, and fails if that one was carried out.
-- index: flush_pkey
INSERT INTO flush (lane, id, at) VALUES ($1::int, $2::bigint, $3::timestamptz);

-- name: flush_known
-- Find out whether a flush was committed whose COMMIT got no answer.
-- index: flush_pkey
SELECT EXISTS (SELECT FROM flush WHERE lane = $1::int AND id = $2::bigint);

-- name: forget_flushes
-- Drop the notes of flushes that nobody can be in doubt about any more.
-- index: flush_pkey (one lane's rows are few)
DELETE FROM flush WHERE lane = $1::int AND at < $2::timestamptz;

-- name: match
-- Move waiting receipts of a span of time to the segments that have got their message_id; of several segments with one
-- message_id (an SMSC that counts anew) the newest has it.
-- index: receipt_waiting_at; outcome_message_id
WITH newest AS (
    SELECT DISTINCT ON (o.message_id) o.message_id, o.chunk_id, o.pos, o.segment
    FROM outcome o JOIN receipt_waiting w ON w.lane = o.lane AND w.message_id = o.message_id
    WHERE o.lane = $1::int AND w.lane = $1::int AND w.at >= $2::timestamptz
      AND o.message_id IS NOT NULL AND o.status = 0
    ORDER BY o.message_id, o.at DESC
), found AS (
    DELETE FROM receipt_waiting w USING newest n
    WHERE w.lane = $1::int AND w.at >= $2::timestamptz AND w.message_id = n.message_id
    RETURNING n.chunk_id, w.at, w.lane, n.pos, w.number, w.done_at, n.segment, w.state, w.message_id, w.err, w.raw
)
INSERT INTO receipt (chunk_id, at, lane, pos, number, done_at, segment, state, message_id, err, raw)
SELECT chunk_id, at, lane, pos, number, done_at, segment, state, message_id, err, raw FROM found;

-- name: adopt
-- Give a waiting receipt to the one segment in doubt that went to its number, if there is exactly one of each and the
-- receipt came after the segment was sent. The receipt's message_id becomes the segment's: it was accepted, and is in doubt
-- no more.
-- index: receipt_waiting_at; outcome_in_doubt; outcome_chunk; chunk_payload_pkey
WITH doubt AS (
    SELECT DISTINCT o.chunk_id, o.pos, o.segment, o.segments, o.epoch, o.at, p.msisdn[o.pos + 1] AS number
    FROM outcome o JOIN chunk_payload p ON p.lane = o.lane AND p.chunk_id = o.chunk_id
    WHERE o.lane = $1::int AND p.lane = $1::int AND o.status = -1
      AND NOT EXISTS (
          SELECT FROM repeated x WHERE x.lane = $1::int AND x.chunk_id = o.chunk_id AND x.pos = o.pos)
      AND NOT EXISTS (
          SELECT FROM outcome l WHERE l.lane = $1::int AND l.chunk_id = o.chunk_id AND l.pos = o.pos
          AND (l.segment = o.segment OR o.segment = 0) AND l.status <> -1)
), one_doubt AS (
    SELECT number, min(chunk_id) AS chunk_id, min(pos) AS pos, min(segment) AS segment, min(segments) AS segments,
           min(epoch) AS epoch, min(at) AS at
    FROM doubt GROUP BY number HAVING count(DISTINCT (chunk_id, pos, segment)) = 1
), one_receipt AS (
    SELECT number FROM receipt_waiting
    WHERE lane = $1::int AND number IS NOT NULL
    GROUP BY number HAVING count(DISTINCT message_id) = 1 AND min(at) <= $2::timestamptz
), adopted AS (
    DELETE FROM receipt_waiting w USING one_doubt d, one_receipt c
    WHERE w.lane = $1::int AND w.number = d.number AND c.number = d.number AND w.at > d.at - $3::interval
    RETURNING d.chunk_id, w.at, w.lane, d.pos, w.number, w.done_at, d.segment, w.state, w.message_id, w.err, w.raw,
              d.segments, d.epoch
), accepted AS (
    INSERT INTO outcome (lane, chunk_id, pos, segment, segments, epoch, status, at, rtt_us, message_id)
    SELECT lane, chunk_id, pos, segment, min(segments), min(epoch), 0, min(at), 0, message_id
    FROM adopted GROUP BY lane, chunk_id, pos, segment, message_id
)
INSERT INTO receipt (chunk_id, at, lane, pos, number, done_at, segment, state, message_id, err, raw)
SELECT chunk_id, at, lane, pos, number, done_at, segment, state, message_id, err, raw FROM adopted;

-- name: waiting_exist
-- Say whether any receipt of a lane waits.
-- index: receipt_waiting_at
SELECT EXISTS (SELECT FROM receipt_waiting WHERE lane = $1::int);

-- name: abandoned_chunks
-- Lock the claimed chunks of a lane whose owner is dead, or whose lease is over and whose owner ($4) we are not: a worker
-- never robs itself, for what it has in hand it knows better.
-- index: chunk_claimed (lane, id) WHERE state = 1
SELECT id, n, epoch, sent_upto, first_claimed_at FROM chunk
WHERE lane = $1::int AND state = 1
  AND (owner = ANY($3::text[]) OR (lease_until < $2::timestamptz AND owner IS DISTINCT FROM $4::text))
ORDER BY id
FOR UPDATE SKIP LOCKED;

-- name: doubt
-- The crash rule: a position below the watermark without an outcome is in doubt; so is a segment whose brothers have one.
-- One chunk a place of the arrays: $2 = ids, $3 = strides, $4 = positions, $5 = watermarks, $6 = epochs; rank r stands for
-- (r * stride + id) mod n. $8 = before the first of them was first claimed: older outcomes are none of theirs.
-- index: outcome_chunk; outcome is read once for all chunks, by its partitions since $8
WITH taken AS (
    SELECT id, stride, n, upto, epoch
    FROM unnest($2::bigint[], $3::bigint[], $4::int[], $5::int[], $6::int[]) AS u (id, stride, n, upto, epoch)
), known AS (
    SELECT chunk_id, pos, segment, segments FROM outcome
    WHERE lane = $1::int AND chunk_id = ANY($2::bigint[]) AND at >= $8::timestamptz
)
INSERT INTO outcome (lane, chunk_id, pos, segment, segments, epoch, status, at, rtt_us, message_id)
SELECT $1::int, missing.chunk_id, missing.pos, missing.segment, missing.segments, missing.epoch, -1, $7::timestamptz, 0, NULL
FROM (
    SELECT r.chunk_id, r.pos, 0::smallint AS segment, 0::smallint AS segments, r.epoch
    FROM (
        SELECT t.id AS chunk_id, ((rank * t.stride + t.id % t.n) % t.n)::int AS pos, t.epoch
        FROM taken t CROSS JOIN LATERAL generate_series(0, t.upto - 1) AS rank
    ) r
    WHERE NOT EXISTS (SELECT FROM known k WHERE k.chunk_id = r.chunk_id AND k.pos = r.pos)
    UNION ALL
    SELECT m.chunk_id, m.pos, s::smallint, m.segments, t.epoch
    FROM (SELECT chunk_id, pos, max(segments) AS segments FROM known GROUP BY chunk_id, pos HAVING max(segments) > 1) m
    JOIN taken t ON t.id = m.chunk_id
    CROSS JOIN LATERAL generate_series(1, m.segments) AS s
    WHERE NOT EXISTS (
        SELECT FROM known k WHERE k.chunk_id = m.chunk_id AND k.pos = m.pos AND (k.segment = s OR k.segment = 0))
) missing;

-- name: requeue
-- Put rescued chunks back: what is above their watermarks was never sent.
-- index: chunk_pkey
UPDATE chunk
SET state = CASE WHEN sent_upto >= n THEN 2 ELSE 0 END, epoch = epoch + 1, owner = NULL, lease_until = NULL
WHERE lane = $1::int AND id = ANY($2::bigint[]);

-- name: repeatable
-- Positions in doubt for longer than the evidence period, of runs that would rather send twice than not at all.
-- index: outcome_in_doubt; outcome_chunk
SELECT DISTINCT o.chunk_id, o.pos
FROM outcome o
JOIN chunk k ON k.lane = o.lane AND k.id = o.chunk_id
JOIN run r ON r.id = k.run
WHERE o.lane = $1::int AND k.lane = $1::int AND o.status = -1 AND o.at <= $2::timestamptz
  AND r.policy = 'at_least_once' AND (r.expires_at IS NULL OR r.expires_at > $3::timestamptz)
  AND NOT EXISTS (SELECT FROM repeated x WHERE x.lane = $1::int AND x.chunk_id = o.chunk_id AND x.pos = o.pos)
  AND NOT EXISTS (
      SELECT FROM outcome l WHERE l.lane = $1::int AND l.chunk_id = o.chunk_id AND l.pos = o.pos
      AND (l.segment = o.segment OR o.segment = 0) AND l.status <> -1)
ORDER BY o.chunk_id, o.pos;

-- name: note_repeated
-- Remember which positions are sent again; one that is known already is left out.
-- index: repeated_pkey
INSERT INTO repeated (lane, chunk_id, pos, by_chunk, at)
SELECT $1::int, $2::bigint, pos, $4::bigint, $5::timestamptz FROM unnest($3::int[]) AS pos
ON CONFLICT (lane, chunk_id, pos) DO NOTHING
RETURNING pos;

-- name: repeat_payload
-- Copy the numbers and values of some positions of a chunk into a new one.
-- index: chunk_payload_pkey
INSERT INTO chunk_payload (lane, chunk_id, run, msisdn, params)
SELECT p.lane, $4::bigint, p.run,
       (SELECT array_agg(p.msisdn[pos + 1] ORDER BY pos) FROM unnest($3::int[]) AS pos),
       CASE WHEN p.params IS NULL THEN NULL ELSE (
           SELECT array_agg(ARRAY(SELECT p.params[pos + 1][field] FROM generate_series(1, array_length(p.params, 2)) AS field
                                  ORDER BY field) ORDER BY pos)
           FROM unnest($3::int[]) AS pos) END
FROM chunk_payload p
WHERE p.lane = $1::int AND p.chunk_id = $2::bigint;

-- name: repeat_chunk
-- Queue the copy in front of the run's other chunks, as a possible duplicate.
-- index: chunk_pkey
INSERT INTO chunk (lane, id, run, n, class, priority, not_before, repeats)
SELECT k.lane, $3::bigint, k.run, $4::int, k.class, k.priority, k.not_before, k.id
FROM chunk k WHERE k.lane = $1::int AND k.id = $2::bigint;

-- name: next_repeat_id
-- Find a free chunk id for repeats of a run: they stand in the upper half of its ids.
-- index: chunk_pkey
SELECT greatest(coalesce(max(id), 0) + 1, $2::bigint) FROM chunk
WHERE lane = $1::int AND id >= $2::bigint AND id < $3::bigint;
