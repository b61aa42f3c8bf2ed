-- name: close_lane
-- Take due chunks of a lane that another lane may have: each goes to the first lane of its fallback that is up ($3). What
-- stands below the watermark stays; the chunk is closed, and a transfer carries the rest.
-- index: chunk_ready (lane, class, priority, id) WHERE state = 0
WITH taken AS (
    SELECT k.id, k.sent_upto, target.lane AS to_lane, target.place
    FROM chunk k CROSS JOIN LATERAL (
        SELECT f.lane, f.place FROM unnest(k.fallback) WITH ORDINALITY AS f (lane, place)
        WHERE f.lane = ANY($3::int[]) ORDER BY f.place LIMIT 1
    ) target
    WHERE k.lane = $1::int AND k.state = 0 AND k.not_before <= $2::timestamptz
    ORDER BY k.class, k.priority, k.id LIMIT $4::int
    FOR UPDATE OF k SKIP LOCKED
), closed AS (
    UPDATE chunk c SET state = 5 FROM taken t WHERE c.lane = $1::int AND c.id = t.id
    RETURNING c.id, c.fallback, t.sent_upto, t.to_lane, t.place
)
INSERT INTO transfer (lane, chunk_id, to_lane, fallback, from_rank, why, at)
SELECT $1::int, id, to_lane, fallback[place + 1:], sent_upto, 'closed', $2::timestamptz FROM closed
RETURNING id;

-- name: failed_positions
-- Find the messages of a lane that failed so that another lane may try: every segment of them has its answer, none was
-- delivered and none is in doubt or waits for its receipt, and at least one was rejected with a status of $3, or its
-- receipt says undeliverable with an error of $4, or with any where $5. Since $2; not those that went already, and none
-- whose run is over at $6, or cancelled. A message's first final receipt counts.
-- index: outcome_rejected, receipt_undeliverable; outcome_chunk
WITH hints AS (
    SELECT o.chunk_id, o.pos FROM outcome o
    WHERE o.lane = $1::int AND o.at >= $2::timestamptz AND o.status > 0 AND o.status = ANY($3::int[])
    UNION
    SELECT r.chunk_id, r.pos FROM receipt r
    WHERE r.lane = $1::int AND r.at >= $2::timestamptz AND r.state IN (5, 8) AND (r.err = ANY($4::text[]) OR $5::boolean)
), able AS (
    SELECT h.chunk_id, h.pos, target.lane AS to_lane, k.fallback[target.place + 1:] AS fallback, k.first_claimed_at
    FROM hints h
    JOIN chunk k ON k.lane = $1::int AND k.id = h.chunk_id
    JOIN run r ON r.id = k.run
    CROSS JOIN LATERAL (
        SELECT f.lane, f.place FROM unnest(k.fallback) WITH ORDINALITY AS f (lane, place)
        WHERE f.lane = ANY($7::int[]) ORDER BY f.place LIMIT 1
    ) target
    WHERE (r.expires_at IS NULL OR r.expires_at > $6::timestamptz) AND r.cancelled_at IS NULL
      AND NOT EXISTS (SELECT FROM repeated x WHERE x.lane = $1::int AND x.chunk_id = h.chunk_id AND x.pos = h.pos)
), answers AS (
    SELECT a.chunk_id, a.pos, o.segment, max(o.segments) AS segments, bool_or(o.status = 0) AS is_accepted,
           bool_or(o.status > 0 OR o.status = -17) AS is_rejected, bool_or(o.status = -1) AS is_doubted,
           bool_or(o.status < -1 AND o.status <> -17) AS is_refused
    FROM able a JOIN outcome o ON o.lane = $1::int AND o.chunk_id = a.chunk_id AND o.pos = a.pos
    GROUP BY a.chunk_id, a.pos, o.segment
), finals AS (
    SELECT DISTINCT ON (r.chunk_id, r.pos, r.segment) r.chunk_id, r.pos, r.segment, r.state
    FROM able a JOIN receipt r ON r.lane = $1::int AND r.chunk_id = a.chunk_id AND r.pos = a.pos
    WHERE r.state IN (2, 3, 4, 5, 8, 9)
    ORDER BY r.chunk_id, r.pos, r.segment, r.at
), judged AS (
    SELECT s.chunk_id, s.pos
    FROM answers s LEFT JOIN finals f ON f.chunk_id = s.chunk_id AND f.pos = s.pos AND f.segment = s.segment
    GROUP BY s.chunk_id, s.pos
    HAVING count(*) >= max(s.segments)
       AND bool_and(NOT s.is_refused AND CASE WHEN s.is_accepted THEN coalesce(f.state IN (3, 4, 5, 8, 9), false)
                                              ELSE s.is_rejected AND NOT s.is_doubted END)
)
SELECT a.chunk_id, a.pos, a.to_lane, a.fallback
FROM able a JOIN judged j ON j.chunk_id = a.chunk_id AND j.pos = a.pos
ORDER BY a.chunk_id, a.to_lane, a.pos LIMIT $8::int;

-- name: add_transfer
-- Enter a transfer of some positions of a chunk.
-- index: transfer_pkey
INSERT INTO transfer (lane, chunk_id, to_lane, fallback, positions, from_rank, why, at)
VALUES ($1::int, $2::bigint, $3::int, $4::int[], '{}', 0, 'failed', $5::timestamptz)
RETURNING id;

-- name: note_moved
-- Take positions out of a lane; one that went already is left out. by_chunk = the transfer.
-- index: repeated_pkey
INSERT INTO repeated (lane, chunk_id, pos, by_chunk, at)
SELECT $1::int, $2::bigint, pos, $4::bigint, $5::timestamptz FROM unnest($3::int[]) AS pos
ON CONFLICT (lane, chunk_id, pos) DO NOTHING
RETURNING pos;

-- name: fill_transfer
-- Say which positions a transfer carries.
-- index: transfer_pkey
UPDATE transfer SET positions = $3::int[], arrived_at = CASE WHEN $3::int[] = '{}' THEN at END
WHERE lane = $1::int AND id = $2::bigint;

-- name: open_transfers
-- List what has left a lane and was not seen to arrive.
-- index: transfer_open
SELECT t.id, t.chunk_id, t.to_lane, t.fallback, t.positions, t.from_rank, k.n, k.run
FROM transfer t JOIN chunk k ON k.lane = t.lane AND k.id = t.chunk_id
WHERE t.lane = $1::int AND k.lane = $1::int AND t.arrived_at IS NULL ORDER BY t.id LIMIT $2::int;

-- name: transfer_payload
-- Read the numbers and values of some positions of a chunk; values as text of one array.
-- index: chunk_payload_pkey
SELECT (SELECT array_agg(p.msisdn[pos + 1] ORDER BY ord) FROM unnest($3::int[]) WITH ORDINALITY AS u (pos, ord)) AS numbers,
       CASE WHEN p.params IS NULL THEN NULL ELSE (
           SELECT array_agg(ARRAY(SELECT p.params[pos + 1][field] FROM generate_series(1, array_length(p.params, 2)) AS field
                                  ORDER BY field) ORDER BY ord)
           FROM unnest($3::int[]) WITH ORDINALITY AS u (pos, ord)) END::text AS params
FROM chunk_payload p WHERE p.lane = $1::int AND p.chunk_id = $2::bigint;

-- name: transfer_origin
-- Read what a transferred chunk keeps of the one it comes from.
-- index: chunk_pkey
SELECT run, class, priority, not_before, country, source FROM chunk WHERE lane = $1::int AND id = $2::bigint;

-- name: transfer_arrived
-- Find the chunk that a transfer has become.
-- index: chunk_transfer
SELECT id FROM chunk WHERE lane = $1::int AND from_lane = $2::int AND transfer = $3::bigint;

-- name: transfer_chunk_payload
-- Write the payload of a transferred chunk.
-- index: chunk_payload_pkey
INSERT INTO chunk_payload (lane, chunk_id, run, msisdn, params)
VALUES ($1::int, $2::bigint, $3::bigint, $4::bigint[], $5::text::text[]);

-- name: transfer_chunk
-- Queue a transferred chunk.
-- index: chunk_pkey, chunk_transfer
INSERT INTO chunk (lane, id, run, n, class, priority, not_before, country, source, fallback, repeats, from_lane, transfer)
VALUES ($1::int, $2::bigint, $3::bigint, $4::int, $5::smallint, $6::smallint, $7::timestamptz, $8::smallint, $9::text,
        $10::int[], $11::bigint, $12::int, $13::bigint);

-- name: close_transfer
-- Note that a transfer has arrived.
-- index: transfer_pkey
UPDATE transfer SET arrived_at = $3::timestamptz WHERE lane = $1::int AND id = $2::bigint;

-- name: expired_chunks
-- Lock queued chunks of a lane whose run is over, or cancelled.
-- index: chunk_ready (lane, class, priority, id) WHERE state = 0
SELECT k.id, k.n, k.sent_upto, k.epoch, k.repeats, r.cancelled_at IS NOT NULL AS is_cancelled
FROM chunk k JOIN run r ON r.id = k.run
WHERE k.lane = $1::int AND k.state = 0 AND (r.expires_at <= $2::timestamptz OR r.cancelled_at IS NOT NULL)
ORDER BY k.id LIMIT $3::int
FOR UPDATE OF k SKIP LOCKED;

-- name: origins_of_copies
-- Of copies of single messages ($2), find where each stood before, and whether it is in doubt there. The nth of a chunk's
-- positions that went on in a copy is its nth. What came from another lane is not looked into.
-- index: chunk_pkey, repeated_pkey, outcome_in_doubt
SELECT k.id AS copy, (row_number() OVER (PARTITION BY k.id ORDER BY x.pos) - 1)::int AS copy_pos, x.chunk_id, x.pos,
       EXISTS (
           SELECT FROM outcome d
           WHERE d.lane = $1::int AND d.chunk_id = x.chunk_id AND d.pos = x.pos AND d.status = -1) AS is_doubted
FROM chunk k JOIN repeated x ON x.chunk_id = k.repeats AND x.by_chunk = k.id
WHERE k.lane = $1::int AND x.lane = $1::int AND k.id = ANY($2::bigint[]) AND k.from_lane IS NULL;

-- name: end_positions
-- Write down with a reason ($8) what stands above the watermarks of chunks: $2 = ids, $3 = strides, $4 = positions, $5 =
-- watermarks, $6 = epochs; rank r stands for (r * stride + id) mod n. Those of $9 (chunks) and $10 (positions) stay in doubt.
-- index: none, it appends
INSERT INTO outcome (lane, chunk_id, pos, segment, segments, epoch, status, at, rtt_us, message_id)
SELECT $1::int, e.id, e.pos, 0, 0, e.epoch, CASE WHEN d.pos IS NULL THEN $8::int ELSE -1 END, $7::timestamptz, 0, NULL
FROM (
    SELECT t.id, ((rank * t.stride + t.id % t.n) % t.n)::int AS pos, t.epoch
    FROM unnest($2::bigint[], $3::bigint[], $4::int[], $5::int[], $6::int[]) AS t (id, stride, n, upto, epoch)
    CROSS JOIN LATERAL generate_series(t.upto, t.n - 1) AS rank
) e LEFT JOIN unnest($9::bigint[], $10::int[]) AS d (id, pos) ON d.id = e.id AND d.pos = e.pos;

-- name: close_ended
-- Close chunks of which nothing is left to send.
-- index: chunk_pkey
UPDATE chunk SET state = 2, sent_upto = n WHERE lane = $1::int AND id = ANY($2::bigint[]);
