-- What became of messages by the day of their sending, lane by lane: from the same rows as the report of a run (results.sql).

-- name: drop_message_days
-- Drop what was counted of days of a lane from one on, before another.
-- index: message_day_pkey
DELETE FROM message_day WHERE lane = $1::int AND day >= $2::date AND day < $3::date;

-- name: write_message_days
-- Count the messages of a lane that were sent, or refused, first in a span ($2 … $8), by run, day, country and end; one that
-- went on in another chunk counts there. As of $3. $4 = the zone of days, $5 = outcomes are looked for from then on, $6 = runs
-- that are tests, $7 = numbers of the house. What a state follows from is said in states.sql.
-- index: outcome and receipt are read by partition; chunk_pkey; receipt_chunk; repeated_pkey
WITH known AS MATERIALIZED (
    SELECT o.chunk_id, o.pos, o.segment, max(o.segments) AS segments,
           @{answer} AS answer,
           bool_and(o.status = -17) AS is_abandoned,
           min(o.at) FILTER (WHERE o.status = 0) AS accepted_at, min(o.at) AS at,
           (array_agg(o.status ORDER BY o.at DESC) FILTER (WHERE o.status NOT IN (0, -1, -17)))[1] AS status
    FROM outcome o WHERE o.lane = $1::int AND o.at >= $5::timestamptz
    GROUP BY o.chunk_id, o.pos, o.segment
), due AS MATERIALIZED (
    SELECT n.chunk_id, n.pos, min(n.at) AS at, min(n.status) AS status FROM known n GROUP BY n.chunk_id, n.pos
    HAVING min(n.at) >= $2::timestamptz AND min(n.at) < $8::timestamptz
), habit AS MATERIALIZED (
    SELECT coalesce(bool_or(delivered_wins), false) AS delivered_wins,
           coalesce(bool_or(unknown_is_final), false) AS unknown_is_final, max(deadline_s) AS deadline_s
    FROM receipt_habit WHERE lane = $1::int
), resolved AS (
    SELECT n.chunk_id, n.pos
    FROM known d JOIN known n ON n.chunk_id = d.chunk_id AND n.pos = d.pos
    WHERE d.segment = 0 AND d.answer = 3 AND n.segment > 0 AND n.answer < 3
    GROUP BY n.chunk_id, n.pos HAVING count(*) >= max(n.segments)
), answered AS (
    SELECT n.chunk_id, n.pos, n.segment, n.answer, n.is_abandoned, n.accepted_at
    FROM known n JOIN due d ON d.chunk_id = n.chunk_id AND d.pos = n.pos
    LEFT JOIN resolved v ON v.chunk_id = n.chunk_id AND v.pos = n.pos AND n.segment = 0
    WHERE v.pos IS NULL
), received AS (
    SELECT DISTINCT ON (r.chunk_id, r.pos, r.segment) r.chunk_id, r.pos, r.segment, r.state,
           r.state = 7 AND h.unknown_is_final AS is_unknown
    FROM receipt r JOIN due d ON d.chunk_id = r.chunk_id AND d.pos = r.pos CROSS JOIN habit h
    WHERE r.lane = $1::int AND r.at >= $5::timestamptz
    ORDER BY r.chunk_id, r.pos, r.segment, @{most_telling}
), judged AS (
    SELECT a.chunk_id, a.pos, a.segment, a.answer,
           @{state_of_segment} AS worst
    FROM answered a CROSS JOIN habit h
    LEFT JOIN received r ON r.chunk_id = a.chunk_id AND r.pos = a.pos AND (r.segment = a.segment OR r.segment = 0)
), messages AS (
    SELECT s.chunk_id, s.pos, k.run, k.country, count(*) FILTER (WHERE s.answer = 0) AS segments,
           @{state_of_message} AS worst, @{is_begun} AS is_begun
    FROM judged s JOIN chunk k ON k.lane = $1::int AND k.id = s.chunk_id JOIN run n ON n.id = k.run
    WHERE NOT EXISTS (SELECT FROM repeated x WHERE x.lane = $1::int AND x.chunk_id = s.chunk_id AND x.pos = s.pos)
    GROUP BY s.chunk_id, s.pos, k.run, k.country, n.receipt_policy
), of_the_house AS (
    SELECT p.chunk_id, n.place - 1 AS pos
    FROM chunk_payload p CROSS JOIN LATERAL unnest(p.msisdn) WITH ORDINALITY AS n (number, place)
    WHERE p.lane = $1::int AND cardinality($7::bigint[]) > 0 AND n.number = ANY($7::bigint[])
      AND p.chunk_id IN (SELECT d.chunk_id FROM due d)
), ended AS (
    SELECT m.run, m.country, m.segments, @{whole_state} AS state, (d.at AT TIME ZONE $4::text)::date AS day,
           coalesce(d.status, 0) AS status,
           m.run = ANY($6::bigint[]) OR h.pos IS NOT NULL AS is_excluded
    FROM messages m JOIN due d ON d.chunk_id = m.chunk_id AND d.pos = m.pos
    LEFT JOIN of_the_house h ON h.chunk_id = m.chunk_id AND h.pos = m.pos
)
INSERT INTO message_day (lane, run, day, country, state, status, is_excluded, messages, segments)
SELECT $1::int, run, day, country, state, CASE WHEN state IN (8, 9) THEN status ELSE 0 END, is_excluded, count(*), sum(segments)
FROM ended GROUP BY run, day, country, state, CASE WHEN state IN (8, 9) THEN status ELSE 0 END, is_excluded;

-- name: numbers_of_lists
-- Read the numbers of some lists: those of the house.
-- index: list_entry_pkey
SELECT l.number FROM list_entry l WHERE l.bucket = ANY($1::int[]) AND l.list = ANY($2::bigint[]) LIMIT 100000;
