-- name: failed_until
-- Say how far what failed on a lane since two moments ($2 of outcomes, $3 of receipts) can be taken at once: the moment of the
-- $4th of each, NULL where there are fewer.
-- index: outcome_failed (lane, at), receipt_failed (lane, at), of the partitions since then
SELECT (SELECT o.at FROM outcome o
        WHERE o.lane = $1::int AND o.at >= $2::timestamptz AND (o.status > 0 OR (o.status < -1 AND o.status > -30))
        ORDER BY o.at OFFSET $4::int LIMIT 1) AS outcomes,
       (SELECT r.at FROM receipt r
        WHERE r.lane = $1::int AND r.at >= $3::timestamptz AND r.state IN (3, 4, 5, 8, 9)
        ORDER BY r.at OFFSET $4::int LIMIT 1) AS receipts;

-- name: went_nowhere
-- Find the messages of runs that ask the gate of which nothing went, among those of which something failed from $2 to $3
-- (outcomes) or from $4 to $5 (receipts): each of their segments was rejected or refused, or its first end was a failure
-- within $7 of being accepted. What may still arrive, is in doubt, or went on in another chunk is none of them.
-- -> by run, and where that has no list by chunk, for there each message has a place of its own: numbers and the moments of failure, packed. $6 = before any answer to them.
-- index: outcome_failed, receipt_failed; outcome_chunk, receipt_chunk; chunk_pkey, chunk_payload_pkey, repeated_pkey
WITH failed AS MATERIALIZED (
    SELECT o.chunk_id, o.pos FROM outcome o
    WHERE o.lane = $1::int AND o.at >= $2::timestamptz AND o.at <= $3::timestamptz
      AND (o.status > 0 OR (o.status < -1 AND o.status > -30))
    UNION
    SELECT r.chunk_id, r.pos FROM receipt r
    WHERE r.lane = $1::int AND r.at >= $4::timestamptz AND r.at <= $5::timestamptz AND r.state IN (3, 4, 5, 8, 9)
), asked AS MATERIALIZED (
    SELECT f.chunk_id, f.pos, k.run, CASE WHEN n.list IS NULL THEN f.chunk_id END AS own
    FROM failed f JOIN chunk k ON k.id = f.chunk_id JOIN run n ON n.id = k.run
    WHERE k.lane = $1::int AND n.gate IS NOT NULL
      AND NOT EXISTS (SELECT FROM repeated x WHERE x.lane = $1::int AND x.chunk_id = f.chunk_id AND x.pos = f.pos)
), answered AS (
    SELECT q.chunk_id, q.pos, q.run, q.own, o.segment, max(o.segments) AS segments, max(o.at) AS at,
           min(o.at) FILTER (WHERE o.status = 0) AS accepted_at,
           @{answer} AS answer
    FROM asked q JOIN outcome o ON o.chunk_id = q.chunk_id AND o.pos = q.pos
    WHERE o.lane = $1::int AND o.at >= $6::timestamptz AND o.chunk_id = ANY(ARRAY(SELECT chunk_id FROM asked))
    GROUP BY q.chunk_id, q.pos, q.run, q.own, o.segment
), told AS (
    SELECT DISTINCT ON (r.chunk_id, r.pos, r.segment) r.chunk_id, r.pos, r.segment, r.state, r.at
    FROM asked q JOIN receipt r ON r.chunk_id = q.chunk_id AND r.pos = q.pos
    LEFT JOIN receipt_habit h ON h.lane = $1::int
    WHERE r.lane = $1::int AND r.at >= $6::timestamptz AND r.chunk_id = ANY(ARRAY(SELECT chunk_id FROM asked))
    ORDER BY r.chunk_id, r.pos, r.segment, @{most_telling}
), ended AS (
    SELECT a.chunk_id, a.pos, a.run, a.own, a.segment, a.segments, greatest(a.at, t.at) AS at,
           CASE WHEN t.state IN (3, 4, 5, 8, 9) THEN coalesce(t.at <= a.accepted_at + $7::interval, true)
                WHEN t.state = 2 THEN false
                ELSE a.answer IN (1, 2) END AS is_dead
    FROM answered a
    LEFT JOIN told t ON t.chunk_id = a.chunk_id AND t.pos = a.pos AND (t.segment = a.segment OR t.segment = 0)
), nowhere AS (
    SELECT e.chunk_id, e.pos, e.run, e.own, max(e.at) AS at
    FROM ended e
    GROUP BY e.chunk_id, e.pos, e.run, e.own
    HAVING CASE WHEN count(DISTINCT e.segment) FILTER (WHERE e.segment > 0) >= greatest(1, max(e.segments))
                THEN bool_and(e.is_dead) FILTER (WHERE e.segment > 0)
                ELSE bool_or(e.segment = 0) AND bool_and(e.is_dead) END
)
SELECT w.run, w.own,
       string_agg(int8send(p.msisdn[w.pos + 1]), ''::bytea ORDER BY w.chunk_id, w.pos) AS numbers,
       string_agg(int8send((extract(epoch FROM w.at) * 1000000)::bigint), ''::bytea ORDER BY w.chunk_id, w.pos) AS failed_at
FROM nowhere w JOIN chunk_payload p ON p.chunk_id = w.chunk_id
WHERE p.lane = $1::int
GROUP BY w.run, w.own ORDER BY w.run, w.own;

-- name: expired_messages
-- Find the messages of runs that ask for windows whose time with the carrier was over ($2 = since; receipts say EXPIRED of all
-- their segments), and that are still wanted at $3: their run goes on, and they are no second try of one that the carrier had
-- taken before. At most $4; $5 = before any answer to them.
-- index: receipt_failed (lane, at); outcome_chunk, receipt_chunk; chunk_pkey, repeated_pkey
WITH wanted AS MATERIALIZED (
    SELECT DISTINCT r.chunk_id, r.pos
    FROM receipt r JOIN chunk k ON k.id = r.chunk_id JOIN run n ON n.id = k.run
    WHERE r.lane = $1::int AND k.lane = $1::int AND r.at >= $2::timestamptz AND r.state = 3
      AND n.gate IS NOT NULL AND n.class IN (4, 5) AND (n.expires_at IS NULL OR n.expires_at > $3::timestamptz)
      AND n.cancelled_at IS NULL
      AND NOT EXISTS (SELECT FROM repeated x WHERE x.lane = $1::int AND x.chunk_id = r.chunk_id AND x.pos = r.pos)
      AND NOT EXISTS (
          SELECT FROM repeated x JOIN outcome o ON o.chunk_id = x.chunk_id AND o.pos = x.pos
          WHERE x.lane = $1::int AND o.lane = $1::int AND x.chunk_id = k.repeats AND x.by_chunk = k.id
            AND o.at >= $5::timestamptz AND o.status = 0)
), answers AS (
    SELECT w.chunk_id, w.pos, o.segment, max(o.segments) AS segments, bool_or(o.status = 0) AS is_accepted
    FROM wanted w JOIN outcome o ON o.chunk_id = w.chunk_id AND o.pos = w.pos
    WHERE o.lane = $1::int AND o.at >= $5::timestamptz AND o.chunk_id = ANY(ARRAY(SELECT chunk_id FROM wanted))
    GROUP BY w.chunk_id, w.pos, o.segment
), finals AS (
    SELECT DISTINCT ON (r.chunk_id, r.pos, r.segment) r.chunk_id, r.pos, r.segment, r.state
    FROM wanted w JOIN receipt r ON r.chunk_id = w.chunk_id AND r.pos = w.pos
    LEFT JOIN receipt_habit h ON h.lane = $1::int
    WHERE r.lane = $1::int AND r.at >= $5::timestamptz AND r.chunk_id = ANY(ARRAY(SELECT chunk_id FROM wanted))
    ORDER BY r.chunk_id, r.pos, r.segment, @{most_telling}
)
SELECT s.chunk_id, s.pos
FROM answers s
LEFT JOIN finals f ON f.chunk_id = s.chunk_id AND f.pos = s.pos AND (f.segment = s.segment OR f.segment = 0)
GROUP BY s.chunk_id, s.pos
HAVING count(DISTINCT s.segment) >= max(s.segments) AND bool_and(s.is_accepted AND coalesce(f.state = 3, false))
ORDER BY s.chunk_id, s.pos LIMIT $4::int;

-- name: returned_upto
-- Read how far a lane was looked through.
-- index: return_upto_pkey
SELECT outcomes, receipts FROM return_upto WHERE lane = $1::int;

-- name: note_returned
-- Note how far a lane was looked through; a slower one takes nothing back.
-- index: return_upto_pkey
INSERT INTO return_upto AS u (lane, outcomes, receipts) VALUES ($1::int, $2::timestamptz, $3::timestamptz)
ON CONFLICT (lane) DO UPDATE
SET outcomes = greatest(u.outcomes, excluded.outcomes), receipts = greatest(u.receipts, excluded.receipts);

-- name: contacts_of_run
-- Read what a run has noted of some places since a moment, as contact_pages does: all one value.
-- index: contact_page_at (bucket, page, at), of the partitions since then
SELECT string_agg(record_send(ROW (p.bucket, p.page, p.at, p.run, p.kind, p.class, p.brand, p.priority, p.sender, p.tags,
                                   p.numbers)), ''::bytea)
FROM unnest($1::int[], $2::int[]) AS u (bucket, page)
JOIN contact_page p ON p.bucket = u.bucket AND p.page = u.page
WHERE p.run = $3::bigint AND p.at >= $4::timestamptz AND p.kind IN (1, 2);

-- name: asks_anybody
-- Say whether any run asks the gate: where none does, nothing is ever given back.
-- index: none, a table of a few thousand rows; the first that asks ends it
SELECT EXISTS (SELECT FROM run WHERE gate IS NOT NULL);
