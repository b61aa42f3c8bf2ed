-- name: trace_chunk
-- Find a chunk, and of its payload one position ($3, from 0).
-- index: chunk_pkey; chunk_payload_pkey
SELECT k.lane, k.id AS chunk_id, k.run, k.n, k.class, k.state, k.epoch, k.sent_upto, k.not_before, k.first_claimed_at,
       k.owner, k.repeats, k.source, k.from_lane, k.transfer, $3::int AS pos, p.msisdn[$3::int + 1] AS number,
       CASE WHEN p.params IS NULL THEN '{}'::text[] ELSE ARRAY(
           SELECT p.params[$3::int + 1][field] FROM generate_series(1, array_length(p.params, 2)) AS field ORDER BY field)
       END AS fields
FROM chunk k LEFT JOIN chunk_payload p ON p.lane = k.lane AND p.chunk_id = k.id AND p.lane = $1::int
WHERE k.lane = $1::int AND k.id = $2::bigint AND $3::int BETWEEN 0 AND k.n - 1;

-- name: trace_message_id
-- Find the segments that a carrier gave this id. Said twice, so that an index over the id as it stands serves as well as
-- one over its bare form.
-- index: outcome_message_id, or outcome_id_key
SELECT DISTINCT o.chunk_id, o.pos FROM outcome o
WHERE o.lane = $1::int AND o.message_id = $2::text
  AND ltrim(lower(o.message_id COLLATE "C"), '0') = ltrim(lower($2::text COLLATE "C"), '0')
ORDER BY o.chunk_id, o.pos;

-- name: trace_number
-- Find a number in the chunks of a run, repeats included.
-- index: chunk_run; chunk_payload_pkey
SELECT p.chunk_id, array_position(p.msisdn, $3::bigint) - 1 AS pos
FROM chunk k JOIN chunk_payload p ON p.lane = k.lane AND p.chunk_id = k.id AND p.lane = $1::int
WHERE k.lane = $1::int AND k.run = $2::bigint AND $3::bigint = ANY (p.msisdn)
ORDER BY p.chunk_id;

-- name: trace_outcomes
-- What came of each segment of a position, in the order in which it was written.
-- index: outcome_chunk
SELECT at, epoch, segment, segments, status, rtt_us, message_id FROM outcome
WHERE lane = $1::int AND chunk_id = $2::bigint AND pos = $3::int ORDER BY at, segment;

-- name: trace_receipts
-- The receipts of a position with their octets, in the order in which they came.
-- index: receipt_chunk
SELECT at, segment, state, err, done_at, number, message_id, raw FROM receipt
WHERE lane = $1::int AND chunk_id = $2::bigint AND pos = $3::int ORDER BY at, segment;

-- name: trace_waiting
-- Receipts of these ids that found no segment yet.
-- index: receipt_waiting_at finds the lane; the table is small
SELECT at, 0::smallint AS segment, state, err, done_at, number, message_id, raw FROM receipt_waiting
WHERE lane = $1::int AND message_id = ANY ($2::text[]) ORDER BY at;

-- name: trace_repeats
-- Where a position was sent again.
-- index: repeated_pkey
SELECT by_chunk, at FROM repeated WHERE lane = $1::int AND chunk_id = $2::bigint AND pos = $3::int;

-- name: trace_transfers
-- Which other lanes a position went to, $4 = its place in the order of sending; and the transfer of lane $5 that brought
-- its chunk, if one did ($6 its id).
-- index: transfer_pkey finds the lane; a lane has few transfers, one a chunk
SELECT lane, to_lane, chunk_id, why, at, arrived_at FROM transfer
WHERE (lane = $1::int AND chunk_id = $2::bigint
       AND ($3::int = ANY (positions) OR (positions IS NULL AND from_rank <= $4::int)))
   OR (lane = $5::int AND id = $6::bigint)
ORDER BY at;
