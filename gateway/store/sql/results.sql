-- name: message_states
-- Count a run's messages by state and lane.
-- What a state follows from is said in states.sql; $3 = now. Doubt about a whole position (segment 0: a crash) is overruled
-- when each of its segments has its answer. Positions sent again count where they were sent again. What was rolled into
-- results (retention.sql: roll) counts as it did then.
-- index: chunk_run and result_run find the chunks; counter_run; outcome and receipt are read by partition
WITH runs_chunks AS (
    SELECT k.lane, k.id, t.states FROM chunk k LEFT JOIN result t ON t.lane = k.lane AND t.chunk_id = k.id AND t.run = $1::bigint
    WHERE k.run = $1::bigint
), known AS (
    SELECT o.lane, o.chunk_id, o.pos, o.segment, max(o.segments) AS segments,
           @{answer} AS answer,
           bool_and(o.status = -17) AS is_abandoned,
           min(o.at) FILTER (WHERE o.status = 0) AS accepted_at
    FROM outcome o JOIN runs_chunks k ON k.lane = o.lane AND k.id = o.chunk_id
    WHERE o.at >= $2::timestamptz AND (k.states IS NULL OR get_byte(k.states, o.pos) = 255)
    GROUP BY o.lane, o.chunk_id, o.pos, o.segment
), doubted AS (
    SELECT lane, chunk_id, pos FROM known WHERE segment = 0 AND answer = 3
), resolved AS (
    SELECT n.lane, n.chunk_id, n.pos
    FROM doubted d JOIN known n ON n.lane = d.lane AND n.chunk_id = d.chunk_id AND n.pos = d.pos
    WHERE n.segment > 0 AND n.answer < 3
    GROUP BY n.lane, n.chunk_id, n.pos HAVING count(*) >= max(n.segments)
), answered AS (
    SELECT n.lane, n.chunk_id, n.pos, n.segment, n.answer, n.is_abandoned, n.accepted_at
    FROM known n LEFT JOIN resolved v ON v.lane = n.lane AND v.chunk_id = n.chunk_id AND v.pos = n.pos AND n.segment = 0
    WHERE v.pos IS NULL
), received AS (
    SELECT DISTINCT ON (r.lane, r.chunk_id, r.pos, r.segment) r.lane, r.chunk_id, r.pos, r.segment, r.state,
           r.state = 7 AND h.unknown_is_final IS TRUE AS is_unknown
    FROM receipt r JOIN runs_chunks k ON k.lane = r.lane AND k.id = r.chunk_id
    LEFT JOIN receipt_habit h ON h.lane = r.lane
    WHERE r.at >= $2::timestamptz
    ORDER BY r.lane, r.chunk_id, r.pos, r.segment, @{most_telling}
), segments AS (
    SELECT a.lane, a.chunk_id, a.pos, a.segment,
           @{state_of_segment} AS worst
    FROM answered a LEFT JOIN receipt_habit h ON h.lane = a.lane LEFT JOIN received r ON r.lane = a.lane AND r.chunk_id = a.chunk_id AND r.pos = a.pos
         AND (r.segment = a.segment OR r.segment = 0)
), messages AS (
    SELECT s.lane, s.chunk_id, s.pos, count(*) FILTER (WHERE s.worst < 9) AS segments,
           @{state_of_message} AS worst, @{is_begun} AS is_begun
    FROM segments s JOIN run n ON n.id = $1::bigint
    WHERE NOT EXISTS (SELECT FROM repeated x WHERE x.lane = s.lane AND x.chunk_id = s.chunk_id AND x.pos = s.pos)
    GROUP BY s.lane, s.chunk_id, s.pos, n.receipt_policy
)
SELECT lane,
       (ARRAY['delivered', 'submitted', 'uncertain', 'no_receipt', 'unknown', 'expired', 'undeliverable', 'rejected', 'rejected',
              'refused', 'partial'])[counted.state + 1] AS state,
       sum(messages)::bigint AS messages, sum(segments)::bigint AS segments
FROM (
    SELECT lane, @{whole_state} AS state, count(*) AS messages, sum(segments) AS segments
    FROM messages GROUP BY lane, state
    UNION ALL
    SELECT lane, key AS state, messages, segments FROM counter WHERE run = $1::bigint AND what = 0
) counted
GROUP BY lane, counted.state ORDER BY lane, counted.state;

-- name: late_conflicts
-- Count a run's segments of which the carrier told two different ends.
-- index: as message_states
SELECT coalesce(sum(segments), 0)::bigint FROM (
    SELECT lane, count(*) AS segments FROM (
        SELECT r.lane, r.chunk_id, r.pos, r.segment
        FROM receipt r JOIN chunk k ON k.lane = r.lane AND k.id = r.chunk_id
        LEFT JOIN result t ON t.lane = k.lane AND t.chunk_id = k.id AND t.run = $1::bigint
        WHERE k.run = $1::bigint AND r.at >= $2::timestamptz AND r.state IN (2, 3, 4, 5, 8, 9)
          AND (t.states IS NULL OR get_byte(t.states, r.pos) = 255)
        GROUP BY r.lane, r.chunk_id, r.pos, r.segment HAVING count(DISTINCT r.state) > 1
    ) contradicting GROUP BY lane
    UNION ALL
    SELECT lane, segments FROM counter WHERE run = $1::bigint AND what = 4
) counted;

-- name: refusals
-- Count what a run's messages were rejected or refused with; one that went on to another chunk counts there. needed = the
-- parts that the longest of those took which have too many.
-- index: as message_states
SELECT lane, status, sum(messages)::bigint AS messages, max(needed)::int AS needed
FROM (
    SELECT o.lane, o.status, count(DISTINCT (o.chunk_id, o.pos)) AS messages,
           coalesce(max(o.segments) FILTER (WHERE o.status = -11), 0)::bigint AS needed
    FROM outcome o JOIN chunk k ON k.lane = o.lane AND k.id = o.chunk_id
    LEFT JOIN result t ON t.lane = k.lane AND t.chunk_id = k.id AND t.run = $1::bigint
    WHERE k.run = $1::bigint AND o.status NOT IN (0, -1, -17) AND o.at >= $2::timestamptz
      AND (t.states IS NULL OR get_byte(t.states, o.pos) = 255)
      AND NOT EXISTS (SELECT FROM repeated x WHERE x.lane = o.lane AND x.chunk_id = o.chunk_id AND x.pos = o.pos)
    GROUP BY o.lane, o.status
    UNION ALL
    SELECT lane, key AS status, messages, segments AS needed FROM counter WHERE run = $1::bigint AND what = 1
) counted
GROUP BY lane, status ORDER BY lane, status;

-- name: latencies
-- Median and 99th percentile, in microseconds, of submit to response and of submit to the first receipt, of what was not
-- rolled into results (latency_counts has all).
-- index: as message_states
SELECT o.lane,
       percentile_disc(0.5) WITHIN GROUP (ORDER BY o.rtt_us) AS response_p50_us,
       percentile_disc(0.99) WITHIN GROUP (ORDER BY o.rtt_us) AS response_p99_us,
       percentile_disc(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM r.at - o.at) * 1e6 + o.rtt_us) AS receipt_p50_us,
       percentile_disc(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM r.at - o.at) * 1e6 + o.rtt_us) AS receipt_p99_us,
       min(o.at - make_interval(secs => o.rtt_us / 1e6)) AS first_at, max(o.at) AS last_at, count(*)::bigint AS segments
FROM outcome o
JOIN chunk k ON k.lane = o.lane AND k.id = o.chunk_id
LEFT JOIN result t ON t.lane = k.lane AND t.chunk_id = k.id AND t.run = $1::bigint
LEFT JOIN (
    SELECT lane, chunk_id, pos, segment, min(at) AS at FROM receipt WHERE at >= $2::timestamptz GROUP BY lane, chunk_id, pos, segment
) r ON r.lane = o.lane AND r.chunk_id = o.chunk_id AND r.pos = o.pos AND r.segment = o.segment
WHERE k.run = $1::bigint AND o.status = 0 AND o.rtt_us > 0 AND o.at >= $2::timestamptz
  AND (t.states IS NULL OR get_byte(t.states, o.pos) = 255)
GROUP BY o.lane ORDER BY o.lane;

-- name: latency_counts
-- Count a run's accepted segments by lane and by the time of the response (what = 2) and of the receipt (3), and say from
-- when to when they were sent (5): what was rolled into results and what was not. key = floor(64 ln us).
-- index: counter_run; as message_states
WITH times AS MATERIALIZED (
    SELECT o.lane, o.at, o.rtt_us, extract(epoch FROM r.at - o.at) * 1e6 + o.rtt_us AS receipt_us
    FROM outcome o
    JOIN chunk k ON k.lane = o.lane AND k.id = o.chunk_id
    LEFT JOIN result t ON t.lane = k.lane AND t.chunk_id = k.id AND t.run = $1::bigint
    LEFT JOIN (
        SELECT lane, chunk_id, pos, segment, min(at) AS at FROM receipt WHERE at >= $2::timestamptz
        GROUP BY lane, chunk_id, pos, segment
    ) r ON r.lane = o.lane AND r.chunk_id = o.chunk_id AND r.pos = o.pos AND r.segment = o.segment
    WHERE k.run = $1::bigint AND o.status = 0 AND o.rtt_us > 0 AND o.at >= $2::timestamptz
      AND (t.states IS NULL OR get_byte(t.states, o.pos) = 255)
)
SELECT lane, what, key, sum(segments)::bigint AS segments, min(first_at) AS first_at, max(last_at) AS last_at
FROM (
    SELECT lane, 2 AS what, floor(ln(greatest(rtt_us, 1)::float8) * 64)::int AS key, count(*) AS segments,
           NULL::timestamptz AS first_at, NULL::timestamptz AS last_at
    FROM times GROUP BY 1, 3
    UNION ALL
    SELECT lane, 3, floor(ln(greatest(receipt_us, 1)::float8) * 64)::int, count(*), NULL, NULL
    FROM times WHERE receipt_us IS NOT NULL GROUP BY 1, 3
    UNION ALL
    SELECT lane, 5, 0, count(*), min(at - make_interval(secs => rtt_us / 1e6)), max(at) FROM times GROUP BY lane
    UNION ALL
    SELECT lane, what, key, segments, first_at, last_at FROM counter WHERE run = $1::bigint AND what IN (2, 3, 5)
) counted
GROUP BY lane, what, key ORDER BY lane, what, key;

-- name: is_rolled
-- Whether any of a run's messages was rolled into results.
-- index: counter_run
SELECT EXISTS (SELECT FROM counter WHERE run = $1::bigint);

-- name: unreceipted
-- Count a run's accepted segments that no receipt has come for yet.
-- index: as message_states
SELECT count(*)::bigint FROM outcome o JOIN chunk k ON k.lane = o.lane AND k.id = o.chunk_id
WHERE k.run = $1::bigint AND o.status = 0 AND o.at >= $2::timestamptz
  AND NOT EXISTS (SELECT FROM receipt r WHERE r.lane = o.lane AND r.chunk_id = o.chunk_id AND r.pos = o.pos AND r.segment = o.segment AND r.at >= $2::timestamptz);
