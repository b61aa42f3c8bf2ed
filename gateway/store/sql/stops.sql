-- name: enter_stops
-- Append to the feed under the next numbers, and hold the head until this transaction ends. $1 = how many; -> the last number.
-- index: stop_head_pkey
WITH head AS (
    UPDATE stop_head SET seq = seq + $1::bigint WHERE id = 1 RETURNING seq
), entered AS (
    INSERT INTO stop_feed (seq, number, at, is_stop, scope, source, note)
    SELECT h.seq - $1::bigint + c.place, c.number, $4::timestamptz, $5::boolean, c.scope, $6::text, $7::text
    FROM head h CROSS JOIN unnest($2::bigint[], $3::text[]) WITH ORDINALITY AS c (number, scope, place)
)
SELECT seq FROM head;

-- name: hold_stop_head
-- Let no other enter STOPs before this transaction ends; -> the newest number.
-- index: stop_head_pkey
SELECT seq FROM stop_head WHERE id = 1 FOR UPDATE;

-- name: stop_head
-- Find the number of the newest entry.
-- index: stop_head_pkey
SELECT seq FROM stop_head WHERE id = 1;

-- name: tell_stops
-- Wake the senders; heard when the transaction commits.
-- index: none, it reads no table
SELECT pg_notify('sluice_stops', $1::bigint::text);

-- name: stops_after
-- Read the entries behind the last one seen, in their order.
-- index: stop_feed_pkey
SELECT seq, number, scope, is_stop, source FROM stop_feed WHERE seq > $1::bigint ORDER BY seq LIMIT $2::int;

-- name: load_suppression
-- Read everything that is suppressed, as rows of the feed; sets need no order.
-- index: none, it is read whole
SELECT since AS seq, number, true AS is_stop, scope FROM suppression;

-- name: load_stops
-- Read the entries behind a number as the octets of a COPY.
-- index: stop_feed_pkey
SELECT seq, number, is_stop, scope FROM stop_feed WHERE seq > $1::bigint ORDER BY seq;

-- name: count_suppression
-- Estimate how many rows are suppressed, without counting them.
-- index: none, it reads the catalogue
SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'suppression'::regclass;

-- name: suppression_upto
-- Find how far the copy has followed the feed.
-- index: suppression_upto_pkey
SELECT seq FROM suppression_upto WHERE id = 1;

-- name: take_suppression_turn
-- Be the only one who copies, or none: somebody else does; -> how far the copy is.
-- index: suppression_upto_pkey
SELECT seq FROM suppression_upto WHERE id = 1 FOR UPDATE SKIP LOCKED;

-- name: suppress_numbers
-- Copy what some entries have stopped.
-- index: suppression_pkey
INSERT INTO suppression (number, scope, since, source)
SELECT number, scope, since, source
FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[]) AS c (number, scope, since, source)
ON CONFLICT (number, scope) DO NOTHING;

-- name: release_numbers
-- Drop what some entries have lifted.
-- index: suppression_pkey
DELETE FROM suppression s USING unnest($1::bigint[], $2::text[]) AS c (number, scope)
WHERE s.number = c.number AND s.scope = c.scope;

-- name: note_suppression
-- Note how far the copy has followed the feed.
-- index: suppression_upto_pkey
UPDATE suppression_upto SET seq = $1::bigint WHERE id = 1;

-- name: confirm_stops
-- Say how far this worker's sets have followed the feed; nothing happens for one that is not registered.
-- index: worker_pkey
UPDATE worker SET stop_upto = $2::bigint WHERE instance = $1::text RETURNING stop_upto;

-- name: confirmed_stops
-- Show how far every registered worker has followed, 0 = it loads its sets, whether its lease ends for it, and which process
-- it is.
-- index: none, tables of a few rows
SELECT w.instance, coalesce(w.stop_upto, 0) AS upto, f.instance IS NOT NULL AS is_fenced, w.host, w.boot, w.pid
FROM worker w LEFT JOIN stop_fenced f ON f.instance = w.instance;

-- name: fence_behind
-- Let the leases of workers end that have not confirmed a number: no beat of theirs is taken any more. Their rows stay until
-- others see that the beat stands still, as with the dead. Who has confirmed nothing yet sends nothing.
-- index: worker_pkey, stop_fenced_pkey
INSERT INTO stop_fenced (instance)
SELECT instance FROM worker WHERE instance = ANY($1::text[]) AND stop_upto > 0 AND stop_upto < $2::bigint
ON CONFLICT (instance) DO NOTHING;

-- name: forget_fenced
-- Forget fenced workers that are gone.
-- index: worker_pkey; stop_fenced is a table of a few rows
DELETE FROM stop_fenced f WHERE NOT EXISTS (SELECT FROM worker w WHERE w.instance = f.instance);

-- name: stop_standing
-- Read of some numbers the newest entry of each scope, and whether any since it was last lifted is none of $2.
-- index: stop_feed_number (number, seq)
SELECT DISTINCT ON (f.number, f.scope) f.number, f.scope, f.seq, f.at, f.is_stop, f.source, f.note,
       EXISTS (
           SELECT FROM stop_feed o
           WHERE o.number = f.number AND o.scope = f.scope AND o.is_stop AND o.source <> ALL($2::text[])
             AND o.seq > coalesce((
                 SELECT max(l.seq) FROM stop_feed l
                 WHERE l.number = f.number AND l.scope = f.scope AND NOT l.is_stop), 0)
       ) AS is_others
FROM stop_feed f WHERE f.number = ANY($1::bigint[])
ORDER BY f.number, f.scope, f.seq DESC;

-- name: newest_stops
-- Read the newest entries.
-- index: stop_feed_pkey
SELECT seq, number, scope, at, is_stop, source, note FROM stop_feed ORDER BY seq DESC LIMIT $1::int;

-- name: stop_reply_run
-- Find the run that a carrier's confirmations belong to.
-- index: run_name (name)
SELECT id FROM run WHERE name = $1::text AND template = $2::text AND class = $3::smallint ORDER BY id DESC LIMIT 1;

-- name: stop_reasons
-- Read why some numbers are stopped everywhere, by source, with the newest entry of each since they were last lifted, and when
-- that was.
-- index: stop_feed_number (number, seq)
SELECT f.number, f.source, max(f.at) AS at, l.at AS lifted_at
FROM unnest($1::bigint[]) AS c (number)
LEFT JOIN LATERAL (
    SELECT u.seq, u.at FROM stop_feed u
    WHERE u.number = c.number AND u.scope = '*' AND NOT u.is_stop ORDER BY u.seq DESC LIMIT 1
) l ON true
JOIN stop_feed f ON f.number = c.number AND f.scope = '*' AND f.is_stop AND f.seq > coalesce(l.seq, 0)
GROUP BY f.number, f.source, l.at;

-- name: last_lifted
-- Read when some numbers were last lifted everywhere.
-- index: stop_feed_number (number, seq)
SELECT DISTINCT ON (f.number) f.number, f.at FROM stop_feed f
WHERE f.number = ANY($1::bigint[]) AND f.scope = '*' AND NOT f.is_stop
ORDER BY f.number, f.seq DESC;

-- name: old_suppressions
-- Name who was first suppressed for a reason before a moment, behind a number.
-- index: suppression_source (source, number); stop_feed_pkey
SELECT s.number FROM suppression s JOIN stop_feed f ON f.seq = s.since
WHERE s.source = $1::text AND s.scope = '*' AND s.number > $2::bigint AND f.at < $3::timestamptz
ORDER BY s.number LIMIT $4::int;

-- name: erasure_key
-- Read the digest of the key that numbers are erased with.
-- index: erasure_key_pkey
SELECT digest FROM erasure_key WHERE id = 1;
