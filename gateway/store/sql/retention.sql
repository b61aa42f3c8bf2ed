-- name: day_partitions
-- Name the partitions of outcome and receipt.
-- index: pg_inherits_parent_index
SELECT p.relname::text AS parent, c.relname::text AS partition
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
WHERE i.inhparent IN ('outcome'::regclass, 'receipt'::regclass) ORDER BY c.relname;

-- name: unrolled_chunks
-- Find chunks behind $4 with outcomes of a day ($2 … $3) that are not all in their result yet.
-- index: none of outcome: the partition of that day is read whole; result_pkey
SELECT o.chunk_id, count(*) AS outcomes FROM outcome o
WHERE o.lane = $1::int AND o.at >= $2::timestamptz AND o.at < $3::timestamptz AND o.chunk_id > $4::bigint
  AND NOT EXISTS (SELECT FROM result t WHERE t.lane = $1::int AND t.chunk_id = o.chunk_id AND t.missing = 0)
GROUP BY o.chunk_id ORDER BY o.chunk_id LIMIT $5::int;

-- name: hold_for_roll
-- Lock the chunks that are rolled: two who roll one chunk go one after the other, and the second finds it done.
-- index: chunk_pkey
SELECT id FROM chunk WHERE lane = $1::int AND id = ANY($2::bigint[]) ORDER BY id FOR UPDATE;

-- name: roll
-- Roll the positions of chunks ($2) whose first outcome came before $4 into results and counters; -> how many. A position is
-- rolled once, whole: what came of it later, over midnight, is read with it (outcomes since $8, receipts since $7). What a
-- state follows from is said in states.sql; as of $3.
-- $5, $6 = the least and the greatest of $2.
-- index: outcome_chunk; receipt_chunk; chunk_pkey; result_pkey; repeated_pkey
WITH taken AS MATERIALIZED (
    SELECT k.id, k.run, k.n, t.states, t.segments
    FROM chunk k LEFT JOIN result t ON t.lane = $1::int AND t.chunk_id = k.id
    WHERE k.lane = $1::int AND k.id = ANY($2::bigint[])
), written AS MATERIALIZED (
    SELECT o.chunk_id, o.pos, o.segment, o.segments, o.status, o.at, o.rtt_us
    FROM outcome o JOIN taken k ON k.id = o.chunk_id
    WHERE o.lane = $1::int AND o.at >= $8::timestamptz AND o.chunk_id BETWEEN $5::bigint AND $6::bigint
      AND (k.states IS NULL OR get_byte(k.states, o.pos) = 255)
), due AS MATERIALIZED (
    SELECT w.chunk_id, w.pos,
           EXISTS (SELECT FROM repeated x WHERE x.lane = $1::int AND x.chunk_id = w.chunk_id AND x.pos = w.pos) AS went_on
    FROM written w GROUP BY w.chunk_id, w.pos HAVING min(w.at) < $4::timestamptz
), answers AS MATERIALIZED (
    SELECT w.* FROM written w JOIN due d ON d.chunk_id = w.chunk_id AND d.pos = w.pos
), said AS MATERIALIZED (
    SELECT r.chunk_id, r.pos, r.segment, r.state, r.at
    FROM receipt r JOIN due d ON d.chunk_id = r.chunk_id AND d.pos = r.pos
    WHERE r.lane = $1::int AND r.at >= $7::timestamptz AND r.chunk_id BETWEEN $5::bigint AND $6::bigint
), habit AS MATERIALIZED (
    SELECT coalesce(bool_or(delivered_wins), false) AS delivered_wins,
           coalesce(bool_or(unknown_is_final), false) AS unknown_is_final, max(deadline_s) AS deadline_s
    FROM receipt_habit WHERE lane = $1::int
), known AS (
    SELECT o.chunk_id, o.pos, o.segment, max(o.segments) AS segments,
           @{answer} AS answer,
           bool_and(o.status = -17) AS is_abandoned,
           min(o.at) FILTER (WHERE o.status = 0) AS accepted_at
    FROM answers o GROUP BY o.chunk_id, o.pos, o.segment
), resolved AS (
    SELECT n.chunk_id, n.pos
    FROM known d JOIN known n ON n.chunk_id = d.chunk_id AND n.pos = d.pos
    WHERE d.segment = 0 AND d.answer = 3 AND n.segment > 0 AND n.answer < 3
    GROUP BY n.chunk_id, n.pos HAVING count(*) >= max(n.segments)
), answered AS (
    SELECT n.chunk_id, n.pos, n.segment, n.answer, n.is_abandoned, n.accepted_at
    FROM known n LEFT JOIN resolved v ON v.chunk_id = n.chunk_id AND v.pos = n.pos AND n.segment = 0
    WHERE v.pos IS NULL
), received AS (
    SELECT DISTINCT ON (r.chunk_id, r.pos, r.segment) r.chunk_id, r.pos, r.segment, r.state,
           r.state = 7 AND h.unknown_is_final AS is_unknown
    FROM said r CROSS JOIN habit h
    ORDER BY r.chunk_id, r.pos, r.segment, @{most_telling}
), judged AS (
    SELECT a.chunk_id, a.pos, a.segment,
           @{state_of_segment} AS worst
    FROM answered a CROSS JOIN habit h
    LEFT JOIN received r ON r.chunk_id = a.chunk_id AND r.pos = a.pos AND (r.segment = a.segment OR r.segment = 0)
), messages AS (
    SELECT s.chunk_id, s.pos, k.run, count(*) FILTER (WHERE s.worst < 9) AS segments,
           CASE WHEN d.went_on THEN 254 ELSE @{state_of_message} END AS worst, @{is_begun} AS is_begun
    FROM judged s JOIN taken k ON k.id = s.chunk_id JOIN run n ON n.id = k.run
    JOIN due d ON d.chunk_id = s.chunk_id AND d.pos = s.pos
    GROUP BY s.chunk_id, s.pos, k.run, n.receipt_policy, d.went_on
), ended AS MATERIALIZED (
    SELECT chunk_id, pos, run, segments, @{whole_state} AS state FROM messages
), octets AS (
    SELECT k.id, k.run, k.n, k.states, k.segments, p.pos,
           coalesce(e.state, get_byte(k.states, p.pos), 255) AS state,
           coalesce(least(e.segments, 255)::int, get_byte(k.segments, p.pos), 0) AS took
    FROM taken k CROSS JOIN LATERAL generate_series(0, k.n - 1) AS p (pos)
    LEFT JOIN ended e ON e.chunk_id = k.id AND e.pos = p.pos
), kept AS (
    INSERT INTO result (lane, chunk_id, run, n, missing, at, states, segments)
    SELECT $1::int, id, run, n, count(*) FILTER (WHERE state = 255), $3::timestamptz,
           string_agg(set_byte('\x00'::bytea, 0, state), ''::bytea ORDER BY pos),
           string_agg(set_byte('\x00'::bytea, 0, took), ''::bytea ORDER BY pos)
    FROM octets o WHERE EXISTS (SELECT FROM due d WHERE d.chunk_id = o.id)
    GROUP BY id, run, n
    ON CONFLICT (lane, chunk_id) DO UPDATE
    SET missing = excluded.missing, at = excluded.at, states = excluded.states, segments = excluded.segments
), times AS MATERIALIZED (
    SELECT k.run, o.at, o.rtt_us, extract(epoch FROM r.at - o.at) * 1e6 + o.rtt_us AS receipt_us
    FROM answers o JOIN taken k ON k.id = o.chunk_id
    LEFT JOIN (SELECT chunk_id, pos, segment, min(at) AS at FROM said GROUP BY chunk_id, pos, segment) r
      ON r.chunk_id = o.chunk_id AND r.pos = o.pos AND r.segment = o.segment
    WHERE o.status = 0 AND o.rtt_us > 0
), counted AS (
    INSERT INTO counter (lane, run, what, key, messages, segments, first_at, last_at)
    SELECT $1::int, run, 0, state, count(*), sum(segments), NULL::timestamptz, NULL::timestamptz
    FROM ended WHERE state < 254 GROUP BY run, state
    UNION ALL
    SELECT $1::int, k.run, 1, o.status, count(DISTINCT (o.chunk_id, o.pos)),
           coalesce(max(o.segments) FILTER (WHERE o.status = -11), 0), NULL, NULL
    FROM answers o JOIN taken k ON k.id = o.chunk_id JOIN due d ON d.chunk_id = o.chunk_id AND d.pos = o.pos
    WHERE o.status NOT IN (0, -1, -17) AND NOT d.went_on GROUP BY k.run, o.status
    UNION ALL
    SELECT $1::int, run, 2, floor(ln(greatest(rtt_us, 1)::float8) * 64)::int, 0, count(*), NULL, NULL
    FROM times GROUP BY 2, 4
    UNION ALL
    SELECT $1::int, run, 3, floor(ln(greatest(receipt_us, 1)::float8) * 64)::int, 0, count(*), NULL, NULL
    FROM times WHERE receipt_us IS NOT NULL GROUP BY 2, 4
    UNION ALL
    SELECT $1::int, k.run, 4, 0, 0, count(*), NULL, NULL
    FROM (SELECT chunk_id, pos, segment FROM said WHERE state IN (2, 3, 4, 5, 8, 9)
          GROUP BY chunk_id, pos, segment HAVING count(DISTINCT state) > 1) c JOIN taken k ON k.id = c.chunk_id
    GROUP BY k.run
    UNION ALL
    SELECT $1::int, run, 5, 0, 0, count(*), min(at - make_interval(secs => rtt_us / 1e6)), max(at) FROM times GROUP BY run
    ON CONFLICT (lane, run, what, key) DO UPDATE
    SET messages = counter.messages + excluded.messages,
        segments = CASE WHEN excluded.what = 1 THEN greatest(counter.segments, excluded.segments)
                        ELSE counter.segments + excluded.segments END,
        first_at = least(counter.first_at, excluded.first_at), last_at = greatest(counter.last_at, excluded.last_at)
)
SELECT count(*)::bigint FROM due;

-- name: forget_payload
-- Drop numbers and field values of closed chunks that were begun before $2, and of which nothing is on its way elsewhere.
-- index: chunk_payload_pkey; chunk_pkey; transfer_open
DELETE FROM chunk_payload
WHERE lane = $1::int AND chunk_id = ANY(ARRAY(
    SELECT p.chunk_id FROM chunk_payload p JOIN chunk k ON k.lane = $1::int AND k.id = p.chunk_id
    WHERE p.lane = $1::int AND k.state IN (2, 4, 5) AND coalesce(k.first_claimed_at, k.not_before) < $2::timestamptz
      AND NOT EXISTS (
          SELECT FROM transfer v WHERE v.lane = $1::int AND v.chunk_id = k.id AND v.arrived_at IS NULL)
    ORDER BY p.chunk_id LIMIT $3::int));

-- name: old_chunks
-- Find closed chunks begun before $2 that are rolled as a whole, or were last touched by a roll before $3: no outcome of
-- them is left. Of chunks that were moved or cancelled nothing may ever have been written.
-- index: chunk_pkey; result_pkey; transfer_open
SELECT k.id FROM chunk k LEFT JOIN result t ON t.lane = $1::int AND t.chunk_id = k.id
WHERE k.lane = $1::int AND k.state IN (2, 4, 5) AND coalesce(k.first_claimed_at, k.not_before) < $2::timestamptz
  AND CASE WHEN t.chunk_id IS NULL THEN k.state <> 2 ELSE t.missing = 0 OR t.at < $3::timestamptz END
  AND NOT EXISTS (SELECT FROM transfer v WHERE v.lane = $1::int AND v.chunk_id = k.id AND v.arrived_at IS NULL)
ORDER BY k.id LIMIT $4::int
FOR UPDATE OF k SKIP LOCKED;

-- name: drop_chunks
-- Drop chunks.
-- index: chunk_pkey
DELETE FROM chunk WHERE lane = $1::int AND id = ANY($2::bigint[]);

-- name: drop_payloads
-- Drop the payload of chunks.
-- index: chunk_payload_pkey
DELETE FROM chunk_payload WHERE lane = $1::int AND chunk_id = ANY($2::bigint[]);

-- name: drop_results
-- Drop the results of chunks; the counters of their runs stay.
-- index: result_pkey
DELETE FROM result WHERE lane = $1::int AND chunk_id = ANY($2::bigint[]);

-- name: drop_repeated
-- Drop what chunks remember of their positions that were sent again.
-- index: repeated_pkey
DELETE FROM repeated WHERE lane = $1::int AND chunk_id = ANY($2::bigint[]);

-- name: drop_transfers
-- Drop the transfers out of chunks.
-- index: transfer_pkey finds the lane; a lane has few transfers
DELETE FROM transfer WHERE lane = $1::int AND chunk_id = ANY($2::bigint[]) AND arrived_at IS NOT NULL;

-- name: old_runs
-- Find runs over a list that were enqueued before a moment, the oldest first, behind $2. A run without a list stays open.
-- index: run_pkey
SELECT id FROM run WHERE id > $2::bigint AND list IS NOT NULL AND enqueued_at < $1::timestamptz ORDER BY id LIMIT $3::int;

-- name: runs_with_chunks
-- Say which of some runs have a chunk on a lane.
-- index: chunk_run (lane, run)
SELECT DISTINCT run FROM chunk WHERE lane = $1::int AND run = ANY($2::bigint[]);

-- name: drop_counters
-- Drop the counts of runs on a lane.
-- index: counter_pkey
DELETE FROM counter WHERE lane = $1::int AND run = ANY($2::bigint[]);

-- name: drop_runs
-- Drop runs.
-- index: run_pkey
DELETE FROM run WHERE id = ANY($1::bigint[]);

-- name: old_lists
-- Find lists of files (their names end as $2 says) that were read last before $1 and of which all runs are enqueued: those
-- that hold entries, or may. Emptied ones: see end_emptying.
-- index: none: contact_list has a row a file, and run a row a run
SELECT l.id FROM contact_list l
WHERE l.name ~ $2::text AND coalesce(l.finished_at, l.created_at) < $1::timestamptz
  AND NOT (l.state = 'loading' AND l.finished_at IS NOT NULL AND l.entries = 0)
  AND NOT EXISTS (SELECT FROM run n WHERE n.list = l.id AND n.enqueued_at IS NULL)
ORDER BY l.id LIMIT $3::int;

-- name: runs_of_lists
-- Name the runs over some lists.
-- index: none: run has a row a run
SELECT id, list FROM run WHERE list = ANY($1::bigint[]);

-- name: open_runs
-- Say which of some runs have a chunk on a lane that is not done.
-- index: chunk_run (lane, run)
SELECT DISTINCT run FROM chunk WHERE lane = $1::int AND run = ANY($2::bigint[]) AND state NOT IN (2, 4, 5);

-- name: begin_emptying
-- Call lists that are still as old_lists has found them `loading`, with an end: whoever imports the file again takes the
-- end away, and the list is his. entries > 0: something may be left in it.
-- index: contact_list_pkey
UPDATE contact_list SET state = 'loading', finished_at = coalesce(finished_at, created_at), entries = greatest(entries, 1)
WHERE id = ANY($1::bigint[]) AND coalesce(finished_at, created_at) < $2::timestamptz;

-- name: hold_emptying
-- Lock those of some lists that are still being emptied: an import of one waits until our transaction ends.
-- index: contact_list_pkey
SELECT id FROM contact_list
WHERE id = ANY($1::bigint[]) AND state = 'loading' AND finished_at IS NOT NULL ORDER BY id FOR UPDATE;

-- name: drop_entries
-- Drop a bucket's entries of lists; -> the numbers.
-- index: list_entry_pkey (bucket, list, number)
DELETE FROM list_entry WHERE bucket = $1::int AND list = ANY($2::bigint[]) RETURNING number;

-- name: hold_endpoints
-- Lock people of a bucket who have not changed since before $3: an import that is about to count on them waits.
-- index: endpoint_pkey
SELECT number FROM endpoint
WHERE bucket = $1::int AND number = ANY($2::bigint[]) AND updated_at < $3::timestamptz ORDER BY number FOR UPDATE;

-- name: drop_endpoints
-- Drop those people of a bucket whom no list holds any more, and who are no profile's. What else comes to hang on a number
-- belongs in here.
-- index: endpoint_pkey; profile_number; of list_entry_pkey the bucket is read whole
DELETE FROM endpoint p
WHERE p.bucket = $1::int AND p.number = ANY($2::bigint[])
  AND NOT EXISTS (SELECT FROM list_entry e WHERE e.bucket = $1::int AND e.number = p.number)
  AND NOT EXISTS (SELECT FROM profile f WHERE f.bucket = $1::int AND f.number = p.number);

-- name: end_emptying
-- Call lists emptied that are still ours. Their rows stay as long as a run names them: the same file is the same list.
-- index: contact_list_pkey
UPDATE contact_list SET entries = 0 WHERE id = ANY($1::bigint[]) AND state = 'loading' AND finished_at IS NOT NULL;

-- name: drop_lists
-- Drop lists that were emptied and that no run names.
-- index: none: contact_list has a row a file, and run a row a run
DELETE FROM contact_list l
WHERE l.state = 'loading' AND l.finished_at IS NOT NULL AND l.entries = 0
  AND NOT EXISTS (SELECT FROM run n WHERE n.list = l.id);

-- name: forget_inbound
-- Drop what came from handsets before a moment, as it came; parts that wait for others stay.
-- index: inbound_at; inbound_part_pkey
DELETE FROM inbound
WHERE lane = $1::int AND id = ANY(ARRAY(
    SELECT i.id FROM inbound i
    WHERE i.lane = $1::int AND i.at < $2::timestamptz
      AND NOT EXISTS (SELECT FROM inbound_part p WHERE p.lane = $1::int AND p.id = i.id)
    ORDER BY i.at LIMIT $3::int));

-- name: forget_messages
-- Drop messages of handsets that came before a moment.
-- index: inbound_message_at
DELETE FROM inbound_message
WHERE lane = $1::int AND id = ANY(ARRAY(
    SELECT m.id FROM inbound_message m
    WHERE m.lane = $1::int AND m.at < $2::timestamptz ORDER BY m.at LIMIT $3::int));

-- name: forget_events
-- Drop events of before a moment, from the first number on.
-- index: event_pkey
DELETE FROM event
WHERE lane = $1::int AND at < $2::timestamptz AND id = ANY(ARRAY(
    SELECT v.id FROM event v WHERE v.lane = $1::int ORDER BY v.id LIMIT $3::int));

-- name: forget_waiting
-- Drop receipts that wait since before a moment for a segment whose outcome is gone.
-- index: receipt_waiting_at
DELETE FROM receipt_waiting
WHERE lane = $1::int AND at < $2::timestamptz AND at <= (
    SELECT max(w.at) FROM (
        SELECT at FROM receipt_waiting WHERE lane = $1::int AND at < $2::timestamptz ORDER BY at LIMIT $3::int) w);

-- name: forget_orphans
-- Drop receipts without a message that came before a moment.
-- index: orphan_receipt_at
DELETE FROM orphan_receipt
WHERE lane = $1::int AND at < $2::timestamptz AND at <= (
    SELECT max(w.at) FROM (
        SELECT at FROM orphan_receipt WHERE lane = $1::int AND at < $2::timestamptz ORDER BY at LIMIT $3::int) w);

-- name: forget_orders
-- Drop orders of before a moment in whose place another stands since before it: of pause, resume and drain a newer one of
-- the same scope and key that has no end, or their own end has come; of settings newer ones that name each of them.
-- index: control_newest (scope, key, id)
DELETE FROM control c
WHERE c.at < $1::timestamptz AND CASE WHEN c.action IN ('pause', 'resume', 'drain') THEN
    c.until < $1::timestamptz OR EXISTS (
        SELECT FROM control n
        WHERE n.scope = c.scope AND n.key = c.key AND n.id > c.id AND n.at < $1::timestamptz AND n.until IS NULL
          AND n.action IN ('pause', 'resume', 'drain'))
    ELSE NOT EXISTS (
        SELECT FROM jsonb_object_keys(c.value) AS v (setting)
        WHERE NOT EXISTS (
            SELECT FROM control n
            WHERE n.scope = c.scope AND n.key = c.key AND n.id > c.id AND n.at < $1::timestamptz
              AND n.action IN ('tune', 'rollback', 'reset') AND n.value ? v.setting))
    END;

-- name: cap_periods
-- Name the periods of the caps of all runs.
-- index: none, a table of a few thousand rows
SELECT DISTINCT c.cap ->> 'per' AS per
FROM run r CROSS JOIN LATERAL jsonb_array_elements(r.gate -> 'caps') AS c (cap) WHERE r.gate IS NOT NULL;

-- name: month_partitions
-- Name the partitions of a table of people.
-- index: pg_inherits_parent_index
SELECT c.relname::text AS partition
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
WHERE p.relname = $1::text;

-- name: forget_person_events
-- Drop some of what persons of a bucket did before a moment: what stands in no month of its own, for months are dropped.
-- index: none of the months, which are over by then and gone; the rest is read whole, once a day a bucket
DELETE FROM person_event
WHERE bucket = $1::int AND occurred_at < $2::timestamptz AND (profile, id) IN (
    SELECT v.profile, v.id FROM person_event v WHERE v.bucket = $1::int AND v.occurred_at < $2::timestamptz LIMIT $3::int);

-- name: forget_seen_events
-- Forget of a bucket some of what was told before a moment.
-- index: event_seen_at (brin); event_seen_pkey
DELETE FROM event_seen
WHERE bucket = $1::int AND fingerprint = ANY(ARRAY(
    SELECT s.fingerprint FROM event_seen s WHERE s.bucket = $1::int AND s.at < $2::timestamptz LIMIT $3::int));
