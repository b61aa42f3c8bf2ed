-- name: sent_since
-- Count what left a lane in a span of time, by sender, campaign and country, in seconds for the last minute and in minutes
-- before: limits of minutes and days outlive a process. Segment 1 stands for its message.
-- index: none of outcome, whose partitions of the last day are read; chunk_pkey
SELECT c.source, r.name AS campaign, c.country,
       CASE WHEN o.at >= $4::timestamptz THEN date_trunc('second', o.at) ELSE date_trunc('minute', o.at) END AS moment,
       count(*)::bigint AS pdus, count(*) FILTER (WHERE o.segment <= 1)::bigint AS messages
FROM outcome o
JOIN chunk c ON c.lane = o.lane AND c.id = o.chunk_id
JOIN run r ON r.id = c.run
WHERE o.lane = $1::int AND c.lane = $1::int AND o.at >= $2::timestamptz AND o.at < $3::timestamptz AND o.status >= -1
GROUP BY c.source, r.name, c.country, moment;

-- name: claim
-- Take the next chunks of a lane, past those that others are taking; their payload leaves by a COPY of its own.
-- ARRAY: as a join the planner may run the inner statement once a row, and each time its LIMIT finds other chunks.
-- index: chunk_ready (lane, class, priority, id) WHERE state = 0
UPDATE chunk
SET state = 1, owner = $2::text, epoch = epoch + 1, first_claimed_at = coalesce(first_claimed_at, $3::timestamptz)
WHERE lane = $1::int AND id = ANY(ARRAY(
    SELECT id FROM chunk
    WHERE lane = $1::int AND state = 0 AND not_before <= $3::timestamptz AND class <= $5::smallint
    ORDER BY class, priority, id LIMIT $4::int
    FOR UPDATE SKIP LOCKED
))
RETURNING id, epoch, source;

-- name: claim_unpaused
-- Take the next chunks of a lane as `claim` does, but none of the runs $6, the countries $7 and the senders $8: it stands
-- apart so that the other statement, of every other moment, compares nothing. Paused chunks at the head of the queue are read
-- past, each time.
-- index: chunk_ready (lane, class, priority, id) WHERE state = 0
UPDATE chunk
SET state = 1, owner = $2::text, epoch = epoch + 1, first_claimed_at = coalesce(first_claimed_at, $3::timestamptz)
WHERE lane = $1::int AND id = ANY(ARRAY(
    SELECT id FROM chunk
    WHERE lane = $1::int AND state = 0 AND not_before <= $3::timestamptz AND class <= $5::smallint
      AND run <> ALL($6::bigint[]) AND country <> ALL($7::smallint[]) AND source <> ALL($8::text[])
    ORDER BY class, priority, id LIMIT $4::int
    FOR UPDATE SKIP LOCKED
))
RETURNING id, epoch, source;

-- name: claimed_payload
-- Read claimed chunks as the columns that _fastpath.batch.read_batches takes, the most urgent first.
-- index: chunk_pkey, chunk_payload_pkey
SELECT k.id, k.run, k.epoch, k.sent_upto, k.class, k.country, p.msisdn, p.params
FROM chunk k JOIN chunk_payload p ON p.lane = k.lane AND p.chunk_id = k.id
WHERE k.lane = $1::int AND p.lane = $1::int AND k.id = ANY($2::bigint[])
ORDER BY k.class, k.priority, k.id;

-- name: advance
-- Move watermarks forward; -> the chunks that are still ours. Of two marks for one chunk the higher counts:
-- an UPDATE that finds two rows for one takes either.
-- index: chunk_pkey; HOT: sent_upto stands in no index
UPDATE chunk k
SET sent_upto = greatest(k.sent_upto, u.upto)
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
SET state = 2, sent_upto = k.n, owner = NULL
FROM unnest($2::bigint[], $3::int[]) AS u (id, epoch)
WHERE k.lane = $1::int AND k.id = u.id AND k.epoch = u.epoch AND k.state = 1
RETURNING k.id;

-- name: release
-- Give chunks back: what stands above the watermark, which is set to what really left, was never sent.
-- index: chunk_pkey
UPDATE chunk k
SET state = CASE WHEN u.upto >= k.n THEN 2 ELSE 0 END, sent_upto = u.upto, owner = NULL
FROM unnest($2::bigint[], $3::int[], $4::int[]) AS u (id, epoch, upto)
WHERE k.lane = $1::int AND k.id = u.id AND k.epoch = u.epoch AND k.state = 1
RETURNING k.id;

-- name: hold_chunks
-- Set claimed chunks aside: their run cannot be composed for this carrier, or they cannot be read.
-- index: chunk_pkey
UPDATE chunk k SET state = 3, owner = NULL
FROM unnest($2::bigint[], $3::int[]) AS u (id, epoch)
WHERE k.lane = $1::int AND k.id = u.id AND k.epoch = u.epoch AND k.state = 1
RETURNING k.id;

-- name: disown
-- Give back what a worker has claimed and does not have in hand ($3 = what it has): a claim whose answer was lost. Nothing
-- of it was sent at this epoch, so its watermark is exact.
-- index: chunk_claimed (lane, id) WHERE state = 1
UPDATE chunk SET state = CASE WHEN sent_upto >= n THEN 2 ELSE 0 END, owner = NULL
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
-- Move waiting receipts of a span of time ($2 … $3) to the segments whose message_id they name, and count them by rule: 1 as it
-- stands, 2 but for case and leading zeros, 3 its decimal form, 4 its hexadecimal one (_fastpath/recall.pyx tells why). $4 =
-- the rule that is believed by itself (0: none yet), $5 = try the others too, $6 = no other ever counts. Where a rule is not
-- believed the receipt has to name the segment's number, and nobody else may answer to it. Of several segments with one
-- message_id (an SMSC that counts anew) the newest has it. LIMIT keeps the planner at one look an id: a partition of today has
-- no statistics, and it would read it whole.
-- index: receipt_waiting_at; outcome_id_key; chunk_payload_pkey
WITH asked AS MATERIALIZED (
    SELECT DISTINCT message_id, id_key, as_hex, as_decimal, coalesce(number, -1) AS number, coalesce(other, -1) AS other
    FROM receipt_waiting WHERE lane = $1::int AND at >= $2::timestamptz AND at < $3::timestamptz
), hit AS (
    SELECT DISTINCT ON (a.message_id, a.number, a.other, f.rule, o.message_id)
           a.message_id, a.number, a.other, o.chunk_id, o.pos, o.segment,
           CASE WHEN f.rule = 2 AND o.message_id = a.message_id THEN 1 ELSE f.rule END AS rule
    FROM asked a
    CROSS JOIN LATERAL (VALUES (2, a.id_key), (3, a.as_hex), (4, a.as_decimal)) AS f (rule, key)
    CROSS JOIN LATERAL (
        SELECT x.message_id, x.chunk_id, x.pos, x.segment, x.at FROM outcome x
        WHERE x.lane = $1::int AND ltrim(lower(x.message_id COLLATE "C"), '0') = f.key AND x.message_id IS NOT NULL
          AND x.status = 0
        ORDER BY x.at DESC LIMIT 8
    ) o
    -- A number of one digit is the same in both forms.
    WHERE ($4::int = 0 OR $5::boolean OR f.rule = greatest($4::int, 2))
      AND (f.rule = 2 OR f.rule = $4::int OR f.key <> a.id_key)
    ORDER BY a.message_id, a.number, a.other, f.rule, o.message_id, o.at DESC
), counted AS (
    SELECT h.*, count(*) OVER of_receipt AS ways, count(*) OVER of_rule AS ways_of_rule,
           h.rule = $4::int OR ($4::int = 2 AND h.rule = 1) AS is_believed
    FROM hit h
    WINDOW of_receipt AS (PARTITION BY h.message_id, h.number, h.other),
           of_rule AS (PARTITION BY h.message_id, h.number, h.other, h.rule)
), weighed AS (
    SELECT c.*, bool_or(c.is_believed AND (c.rule = 1 OR c.ways_of_rule = 1)) OVER of_receipt AS is_settled
    FROM counted c
    WINDOW of_receipt AS (PARTITION BY c.message_id, c.number, c.other)
), named AS (
    SELECT w.*, CASE WHEN is_settled OR greatest(number, other) < 1000000 THEN NULL ELSE (
        SELECT p.msisdn[w.pos + 1] FROM chunk_payload p WHERE p.lane = $1::int AND p.chunk_id = w.chunk_id) END AS sent_to
    FROM weighed w
), judged AS (
    SELECT n.*,
           CASE
               WHEN is_settled THEN is_believed AND (rule = 1 OR ways_of_rule = 1)
               WHEN $6::boolean THEN false
               WHEN EXISTS (
                   SELECT FROM (VALUES (n.number), (n.other)) AS v (number)
                   CROSS JOIN LATERAL (
                       SELECT CASE WHEN v.number >= 100000000 THEN 1000000000 WHEN v.number >= 10000000 THEN 100000000
                                   ELSE 10000000 END AS tail) AS t
                   WHERE v.number >= 1000000 AND v.number % t.tail = n.sent_to % t.tail) THEN true
               WHEN $4::int > 0 THEN false
               -- No number speaks for it: only what can be meant in one way.
               WHEN rule = 1 AND ways = ways_of_rule THEN message_id !~ '^[0-9]+$' OR sent_to IS NULL
               ELSE rule = 2 AND ways = 1 AND length(message_id) >= 16 AND message_id !~ '^[0-9]+$'
           END AS is_his
    FROM named n
), picked AS (
    SELECT DISTINCT ON (message_id, number, other) message_id, number, other, rule, chunk_id, pos, segment
    FROM (
        SELECT j.*,
               min(chunk_id) OVER of_receipt <> max(chunk_id) OVER of_receipt
               OR min(pos) OVER of_receipt <> max(pos) OVER of_receipt
               OR min(segment) OVER of_receipt <> max(segment) OVER of_receipt AS is_contested
        FROM judged j
        -- An id as it stands is nearer than one in another case.
        WHERE is_his AND NOT (rule = 2 AND EXISTS (
            SELECT FROM judged v
            WHERE v.is_his AND v.rule = 1 AND (v.message_id, v.number, v.other) = (j.message_id, j.number, j.other)))
        WINDOW of_receipt AS (PARTITION BY message_id, number, other)
    ) one
    WHERE is_settled OR NOT is_contested
    ORDER BY message_id, number, other, rule
), found AS (
    DELETE FROM receipt_waiting w USING picked n
    WHERE w.lane = $1::int AND w.at >= $2::timestamptz AND w.at < $3::timestamptz AND w.message_id = n.message_id
      AND coalesce(w.number, -1) = n.number AND coalesce(w.other, -1) = n.other
    RETURNING n.chunk_id, w.at, n.pos, w.number, w.done_at, n.segment, w.state, w.message_id, w.err, w.raw, n.rule
), written AS (
    INSERT INTO receipt (chunk_id, at, lane, pos, number, done_at, segment, state, message_id, err, raw)
    SELECT chunk_id, at, $1::int, pos, number, done_at, segment, state, message_id, err, raw FROM found
)
SELECT rule, count(*)::int AS receipts FROM found GROUP BY rule;

-- name: adopt
-- Give a waiting receipt to the one segment in doubt that went to its number, if there is exactly one of each and the
-- receipt came after the segment was sent ($3 before the doubt) and within $4 of it. The receipt's message_id becomes the
-- segment's: it was accepted, and is in doubt no more. Numbers are compared by their last nine digits, source or destination.
-- A segment that was accepted since $5 without a message_id stands for one in doubt: nothing else can tell its receipt.
-- index: receipt_waiting_at; outcome_in_doubt; outcome_chunk; chunk_payload_pkey; outcome is read by its partitions since $5
WITH doubt AS (
    SELECT DISTINCT o.chunk_id, o.pos, o.segment, o.segments, o.epoch, o.at, p.msisdn[o.pos + 1] % 1000000000 AS tail
    FROM outcome o JOIN chunk_payload p ON p.lane = o.lane AND p.chunk_id = o.chunk_id
    WHERE o.lane = $1::int AND p.lane = $1::int AND o.status = -1
      AND NOT EXISTS (
          SELECT FROM repeated x WHERE x.lane = $1::int AND x.chunk_id = o.chunk_id AND x.pos = o.pos)
      AND NOT EXISTS (
          SELECT FROM outcome l WHERE l.lane = $1::int AND l.chunk_id = o.chunk_id AND l.pos = o.pos
          AND (l.segment = o.segment OR o.segment = 0) AND l.status <> -1)
    UNION
    SELECT o.chunk_id, o.pos, o.segment, o.segments, o.epoch, o.at, p.msisdn[o.pos + 1] % 1000000000 AS tail
    FROM outcome o JOIN chunk_payload p ON p.lane = o.lane AND p.chunk_id = o.chunk_id
    WHERE o.lane = $1::int AND p.lane = $1::int AND o.at >= $5::timestamptz AND o.status = 0 AND o.message_id IS NULL
      AND NOT EXISTS (
          SELECT FROM outcome l WHERE l.lane = $1::int AND l.chunk_id = o.chunk_id AND l.pos = o.pos
          AND l.segment = o.segment AND l.message_id IS NOT NULL)
), one_doubt AS (
    SELECT tail, min(chunk_id) AS chunk_id, min(pos) AS pos, min(segment) AS segment, min(segments) AS segments,
           min(epoch) AS epoch, min(at) AS at
    FROM doubt GROUP BY tail HAVING count(DISTINCT (chunk_id, pos, segment)) = 1
), waiting AS (
    SELECT v.number % 1000000000 AS tail, w.message_id, w.at
    FROM receipt_waiting w CROSS JOIN LATERAL (VALUES (w.number), (w.other)) AS v (number)
    WHERE w.lane = $1::int AND v.number >= 100000000
), one_receipt AS (
    SELECT tail, min(message_id) AS message_id FROM waiting
    GROUP BY tail HAVING count(DISTINCT message_id) = 1 AND min(at) <= $2::timestamptz
), adopted AS (
    DELETE FROM receipt_waiting w USING one_doubt d, one_receipt c
    WHERE w.lane = $1::int AND w.message_id = c.message_id AND c.tail = d.tail
      AND (w.number % 1000000000 = d.tail OR w.other % 1000000000 = d.tail)
      AND w.at > d.at - $3::interval AND w.at < d.at + $4::interval
    RETURNING d.chunk_id, w.at, d.pos, w.number, w.done_at, d.segment, w.state, w.message_id, w.err, w.raw,
              d.segments, d.epoch
), accepted AS (
    INSERT INTO outcome (lane, chunk_id, pos, segment, segments, epoch, status, at, rtt_us, message_id)
    SELECT $1::int, chunk_id, pos, segment, min(segments), min(epoch), 0, min(at), 0, message_id
    FROM adopted GROUP BY chunk_id, pos, segment, message_id
)
INSERT INTO receipt (chunk_id, at, lane, pos, number, done_at, segment, state, message_id, err, raw, source)
SELECT chunk_id, at, $1::int, pos, number, done_at, segment, state, message_id, err, raw, 'adopted' FROM adopted;

-- name: adoption_contested
-- Count the waiting receipts that might settle a segment in doubt, were it the only one of its number.
-- index: receipt_waiting_at; outcome_in_doubt; outcome_chunk; chunk_payload_pkey
SELECT count(*)::int FROM receipt_waiting w
WHERE w.lane = $1::int AND w.at <= $2::timestamptz AND EXISTS (
    SELECT FROM (
        SELECT DISTINCT o.chunk_id, o.pos, o.segment, p.msisdn[o.pos + 1] % 1000000000 AS tail
        FROM outcome o JOIN chunk_payload p ON p.lane = o.lane AND p.chunk_id = o.chunk_id
        WHERE o.lane = $1::int AND p.lane = $1::int AND o.status = -1
          AND NOT EXISTS (
              SELECT FROM outcome l WHERE l.lane = $1::int AND l.chunk_id = o.chunk_id AND l.pos = o.pos
              AND (l.segment = o.segment OR o.segment = 0) AND l.status <> -1)
    ) doubt
    WHERE tail IN (w.number % 1000000000, w.other % 1000000000));

-- name: orphan
-- Set receipts aside that have waited since before $2 without a segment, the oldest $3 of them at a time.
-- index: receipt_waiting_at
WITH old AS (
    DELETE FROM receipt_waiting
    WHERE lane = $1::int AND at < $2::timestamptz AND at <= coalesce((
        SELECT at FROM receipt_waiting WHERE lane = $1::int AND at < $2::timestamptz ORDER BY at OFFSET $3::int LIMIT 1
    ), $2::timestamptz)
    RETURNING at, number, other, done_at, state, message_id, err, raw
)
INSERT INTO orphan_receipt (lane, at, number, other, done_at, state, message_id, err, raw)
SELECT $1::int, at, number, other, done_at, state, message_id, err, raw FROM old;

-- name: unheard
-- Find accepted segments of a span of time ($2 … $3) of which no end is known, behind the one of ($4, $5, $6, $7), the oldest $8.
-- One whose state the SMSC was asked for since $9 is left out; $10 = UNKNOWN is an end.
-- index: none of outcome and receipt, whose partitions since $2 are read; chunk_pkey
SELECT o.at, o.chunk_id, o.pos, o.segment, o.message_id, k.source
FROM outcome o JOIN chunk k ON k.lane = o.lane AND k.id = o.chunk_id
WHERE o.lane = $1::int AND k.lane = $1::int AND o.at >= $2::timestamptz AND o.at < $3::timestamptz
  AND (o.at, o.chunk_id, o.pos, o.segment) > ($4::timestamptz, $5::bigint, $6::int, $7::smallint)
  AND o.status = 0 AND o.message_id IS NOT NULL
  AND NOT EXISTS (
      SELECT FROM receipt r
      WHERE r.lane = $1::int AND r.at >= $2::timestamptz - interval '1 hour'
        AND r.chunk_id = o.chunk_id AND r.pos = o.pos AND r.segment IN (o.segment, 0)
        AND (r.state IN (2, 3, 4, 5, 8, 9) OR (r.state = 7 AND $10::boolean)
             OR (r.source = 'query' AND r.at >= $9::timestamptz)))
ORDER BY o.at, o.chunk_id, o.pos, o.segment LIMIT $8::int;

-- name: heard
-- Find which of some segments need not be asked for any more ($2 … $4 = them, $5 = before the first of them was accepted):
-- their end has come meanwhile, or another worker has asked since $6; $7 = UNKNOWN is an end.
-- index: receipt_chunk
SELECT DISTINCT u.chunk_id, u.pos, u.segment
FROM unnest($2::bigint[], $3::int[], $4::smallint[]) AS u (chunk_id, pos, segment)
JOIN receipt r ON r.chunk_id = u.chunk_id AND r.pos = u.pos AND r.segment IN (u.segment, 0)
WHERE r.lane = $1::int AND r.chunk_id = ANY ($2::bigint[]) AND r.at >= $5::timestamptz - interval '1 hour'
  AND (r.state IN (2, 3, 4, 5, 8, 9) OR (r.state = 7 AND $7::boolean) OR (r.source = 'query' AND r.at >= $6::timestamptz));

-- name: add_queried
-- Write what the SMSC has said when it was asked, as receipts.
-- index: none, it appends
INSERT INTO receipt (chunk_id, at, lane, pos, done_at, segment, state, message_id, err, source)
SELECT chunk_id, at, $1::int, pos, done_at, segment, state, message_id, err, 'query'
FROM unnest($2::bigint[], $3::timestamptz[], $4::int[], $5::timestamptz[], $6::smallint[], $7::smallint[], $8::text[],
            $9::text[]) AS a (chunk_id, at, pos, done_at, segment, state, message_id, err);

-- name: receipt_rule
-- Read which rule of message_ids was learnt for a lane.
-- index: receipt_habit_pkey
SELECT id_rule FROM receipt_habit WHERE lane = $1::int;

-- name: learn_receipt_rule
-- Keep the rule that was learnt in place of $4, unless another worker was first.
-- index: receipt_habit_pkey
INSERT INTO receipt_habit (lane, id_rule, learnt_at) VALUES ($1::int, $2::text, $3::timestamptz)
ON CONFLICT (lane) DO UPDATE SET id_rule = excluded.id_rule, learnt_at = excluded.learnt_at
WHERE receipt_habit.id_rule IN ('auto', $4::text)
RETURNING id_rule;

-- name: keep_receipt_habit
-- Keep what reports have to know of a carrier's settings.
-- index: receipt_habit_pkey
INSERT INTO receipt_habit (lane, delivered_wins, unknown_is_final, deadline_s)
VALUES ($1::int, $2::boolean, $3::boolean, $4::double precision)
ON CONFLICT (lane) DO UPDATE
SET delivered_wins = excluded.delivered_wins, unknown_is_final = excluded.unknown_is_final, deadline_s = excluded.deadline_s;

-- name: waiting_exist
-- Say whether any receipt of a lane waits.
-- index: receipt_waiting_at
SELECT EXISTS (SELECT FROM receipt_waiting WHERE lane = $1::int);

-- name: claim_owners
-- Name who has claimed chunks of a lane: those of them that are no workers any more are dead.
-- index: chunk_claimed (lane, id) WHERE state = 1
SELECT DISTINCT owner FROM chunk WHERE lane = $1::int AND state = 1 AND owner IS NOT NULL;

-- name: abandoned_chunks
-- Lock the claimed chunks of a lane whose owner is one of those known to be dead.
-- index: chunk_claimed (lane, id) WHERE state = 1
SELECT id, n, epoch, sent_upto, first_claimed_at FROM chunk
WHERE lane = $1::int AND state = 1 AND owner = ANY($2::text[])
ORDER BY id
FOR UPDATE SKIP LOCKED;

-- name: doubt
-- The crash rule: a position below the watermark without an outcome is in doubt; so is a segment whose brothers have one.
-- One chunk a place of the arrays: $2 = ids, $3 = strides, $4 = positions, $5 = watermarks, $6 = epochs; rank r stands for
-- (r * stride + id) mod n. $8 = before the first of them was first claimed: older outcomes are none of theirs. A position
-- that was rolled into a result is known, though its outcomes are gone; one that went on in another chunk stands there.
-- index: outcome_chunk; result_pkey; repeated_pkey; outcome is read once for all chunks, by its partitions since $8
WITH taken AS (
    SELECT id, stride, n, upto, epoch
    FROM unnest($2::bigint[], $3::bigint[], $4::int[], $5::int[], $6::int[]) AS u (id, stride, n, upto, epoch)
), known AS (
    SELECT chunk_id, pos, segment, segments FROM outcome
    WHERE lane = $1::int AND chunk_id = ANY($2::bigint[]) AND at >= $8::timestamptz
    UNION ALL
    SELECT t.chunk_id, p.pos, 0::smallint, 0::smallint
    FROM result t CROSS JOIN LATERAL generate_series(0, t.n - 1) AS p (pos)
    WHERE t.lane = $1::int AND t.chunk_id = ANY($2::bigint[]) AND get_byte(t.states, p.pos) <> 255
    UNION ALL
    SELECT x.chunk_id, x.pos, 0::smallint, 0::smallint
    FROM repeated x WHERE x.lane = $1::int AND x.chunk_id = ANY($2::bigint[])
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
SET state = CASE WHEN sent_upto >= n THEN 2 ELSE 0 END, epoch = epoch + 1, owner = NULL
WHERE lane = $1::int AND id = ANY($2::bigint[]);

-- name: repeatable
-- Positions in doubt for longer than the evidence period, of runs that would rather send twice than not at all.
-- index: outcome_in_doubt; outcome_chunk
SELECT DISTINCT o.chunk_id, o.pos
FROM outcome o
JOIN chunk k ON k.lane = o.lane AND k.id = o.chunk_id
JOIN run r ON r.id = k.run
WHERE o.lane = $1::int AND k.lane = $1::int AND o.status = -1 AND o.at <= $2::timestamptz
  AND r.policy = 'at_least_once' AND (r.expires_at IS NULL OR r.expires_at > $3::timestamptz) AND r.cancelled_at IS NULL
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
-- Queue the copy of some positions; it is sent from the same sender, and counts no person anew.
-- index: chunk_pkey
INSERT INTO chunk (lane, id, run, n, class, priority, not_before, country, source, fallback, repeats)
SELECT k.lane, $3::bigint, k.run, $4::int, k.class, k.priority, k.not_before, k.country, k.source, k.fallback, k.id
FROM chunk k WHERE k.lane = $1::int AND k.id = $2::bigint;

-- name: own_chunk
-- Hold a claimed chunk that is still ours until the end of the transaction.
-- index: chunk_pkey
SELECT id FROM chunk WHERE lane = $1::int AND id = $2::bigint AND epoch = $3::int AND state = 1 FOR UPDATE;

-- name: next_repeat_id
-- Find a free chunk id for repeats of a run: they stand in the upper half of its ids.
-- index: chunk_pkey
SELECT greatest(coalesce(max(id), 0) + 1, $2::bigint) FROM chunk
WHERE lane = $1::int AND id >= $2::bigint AND id < $3::bigint;
