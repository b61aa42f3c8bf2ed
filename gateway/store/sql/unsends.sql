-- name: add_unsends
-- Ask for messages of a lane to be taken back; one that is asked for stays as it is.
-- index: unsend_pkey, as the arbiter
INSERT INTO unsend (lane, pos, chunk_id, made_at)
SELECT $1::int, k.pos, k.chunk_id, $2::timestamptz FROM unnest($3::bigint[], $4::int[]) AS k (chunk_id, pos)
ON CONFLICT (lane, chunk_id, pos) DO NOTHING;

-- name: add_unsends_of_run
-- Ask for what of a run ($3 … $4 = its chunks) has left on a lane since a moment ($5), and has no end yet, to be taken back.
-- index: unsend_pkey, as the arbiter; outcome_chunk and receipt_chunk (brin), of the partitions since then
INSERT INTO unsend (lane, pos, chunk_id, made_at)
SELECT DISTINCT $1::int, o.pos, o.chunk_id, $2::timestamptz
FROM outcome o
WHERE o.lane = $1::int AND o.chunk_id >= $3::bigint AND o.chunk_id < $4::bigint AND o.at >= $5::timestamptz
  AND o.status = 0 AND o.message_id IS NOT NULL
  AND NOT EXISTS (
      SELECT FROM receipt r
      WHERE r.lane = $1::int AND r.at >= $5::timestamptz AND r.chunk_id = o.chunk_id AND r.pos = o.pos
        AND r.segment IN (o.segment, 0) AND r.state IN (2, 3, 4, 5, 8, 9))
ON CONFLICT (lane, chunk_id, pos) DO NOTHING;

-- name: unsends_of_run
-- Count what came of messages of a run that were asked for on a lane.
-- index: unsend_pkey
SELECT state, count(*)::bigint AS messages FROM unsend
WHERE lane = $1::int AND chunk_id >= $2::bigint AND chunk_id < $3::bigint GROUP BY state;

-- name: take_unsends
-- Take some messages that are to be asked for and that nobody has begun with since a moment ($3), the oldest first.
-- index: unsend_open
UPDATE unsend SET tried_at = $2::timestamptz
WHERE lane = $1::int AND ctid = ANY(ARRAY(
    SELECT u.ctid FROM unsend u
    WHERE u.lane = $1::int AND u.state = 0 AND (u.tried_at IS NULL OR u.tried_at < $3::timestamptz)
    ORDER BY u.made_at LIMIT $4::int FOR UPDATE SKIP LOCKED))
RETURNING chunk_id, pos;

-- name: parts_to_unsend
-- Read the accepted parts of messages of a lane of which no end is known, as of outcomes since a moment ($4).
-- index: outcome_chunk (brin), of the partitions since then; receipt likewise; chunk_pkey
SELECT o.at, o.chunk_id, o.pos, o.segment, o.message_id, k.source
FROM unnest($2::bigint[], $3::int[]) AS u (chunk_id, pos)
JOIN outcome o ON o.lane = $1::int AND o.chunk_id = u.chunk_id AND o.pos = u.pos
JOIN chunk k ON k.lane = $1::int AND k.id = o.chunk_id
WHERE o.lane = $1::int AND k.lane = $1::int AND o.at >= $4::timestamptz AND o.status = 0 AND o.message_id IS NOT NULL
  AND NOT EXISTS (
      SELECT FROM receipt r
      WHERE r.lane = $1::int AND r.at >= $4::timestamptz AND r.chunk_id = o.chunk_id AND r.pos = o.pos
        AND r.segment IN (o.segment, 0) AND r.state IN (2, 3, 4, 5, 8, 9))
ORDER BY o.chunk_id, o.pos, o.segment;

-- name: end_unsends
-- Write what came of messages that were asked for.
-- index: unsend_pkey
UPDATE unsend u SET state = k.state, status = k.status, ended_at = $2::timestamptz
FROM unnest($3::bigint[], $4::int[], $5::smallint[], $6::int[]) AS k (chunk_id, pos, state, status)
WHERE u.lane = $1::int AND u.chunk_id = k.chunk_id AND u.pos = k.pos AND u.state = 0;

-- name: unsends_of
-- Read what came of some messages of a lane.
-- index: unsend_pkey
SELECT u.chunk_id, u.pos, u.state FROM unnest($2::bigint[], $3::int[]) AS k (chunk_id, pos)
JOIN unsend u ON u.lane = $1::int AND u.chunk_id = k.chunk_id AND u.pos = k.pos
WHERE u.lane = $1::int;

-- name: forget_unsends
-- Forget what was asked for before a moment.
-- index: unsend_made
DELETE FROM unsend WHERE lane = $1::int AND made_at < $2::timestamptz;
