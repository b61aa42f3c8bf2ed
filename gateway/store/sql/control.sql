-- name: add_order
-- Append an order.
-- index: control_pkey
INSERT INTO control (at, by, action, scope, key, value, until, reason, is_kept)
VALUES ($1::timestamptz, $2::text, $3::text, $4::text, $5::text, $6::text::jsonb, $7::timestamptz, $8::text, $9::boolean)
RETURNING id;

-- name: tell_control
-- Wake who obeys orders; $1 = order, or watch: somebody looks at the reports.
-- index: none, it reads no table
SELECT pg_notify('sluice_control', $1::text);

-- name: orders_in_force
-- Read what holds at $1: of pause, resume and drain the newest order of each scope and key. An order with an end gives way
-- to the one before it. The set is read whole: an order of a lower id may become visible after one of a higher id.
-- index: control_newest (scope, key, id)
SELECT DISTINCT ON (scope, key) id, at, by, action, scope, key, until, reason
FROM control
WHERE action IN ('pause', 'resume', 'drain') AND (until IS NULL OR until > $1::timestamptz)
ORDER BY scope, key, id DESC;

-- name: settings_in_force
-- Read what is tuned: of each carrier and setting the newest order that names it; JSON null where the settings hold again.
-- index: control_newest (scope, key, id)
SELECT DISTINCT ON (c.key, v.key) c.id, c.at, c.by, c.action, c.key AS carrier, v.key AS setting, v.value::text AS value,
       c.reason, c.is_kept
FROM control c CROSS JOIN LATERAL jsonb_each(c.value) AS v
WHERE c.scope = 'carrier' AND c.action IN ('tune', 'rollback', 'reset')
ORDER BY c.key, v.key, c.id DESC;

-- name: roll_back
-- Take an order of tune back: each of its settings gets the value that the order before it gave, or null. Nothing happens
-- when it was taken back already, or when a newer order names one of its settings.
-- index: control_pkey, control_newest (scope, key, id), control_undoes_key
INSERT INTO control (at, by, action, scope, key, value, reason, undoes)
SELECT $2::timestamptz, $3::text, 'rollback', o.scope, o.key,
       (SELECT jsonb_object_agg(v.key, (
            SELECT p.value -> v.key FROM control p
            WHERE p.scope = 'carrier' AND p.key = o.key AND p.id < o.id AND p.action IN ('tune', 'rollback', 'reset')
              AND p.value ? v.key
            ORDER BY p.id DESC LIMIT 1))
        FROM jsonb_each(o.value) AS v),
       $4::text, o.id
FROM control o
WHERE o.id = $1::bigint AND o.action = 'tune' AND NOT EXISTS (
    SELECT FROM control n
    WHERE n.scope = 'carrier' AND n.key = o.key AND n.id > o.id AND n.action IN ('tune', 'rollback', 'reset')
      AND n.value ?| ARRAY(SELECT jsonb_object_keys(o.value)))
ON CONFLICT (undoes) DO NOTHING
RETURNING id;

-- name: paused_runs
-- Find the runs of campaigns, each named by its name or by the number of a run.
-- index: run_name (name), run_pkey
SELECT id FROM run WHERE name = ANY($1::text[]) OR id = ANY($2::bigint[]);

-- name: held_chunks
-- Say which of some chunks of a lane belong to what is paused: runs $3, countries $4, senders $5.
-- index: chunk_pkey
SELECT id FROM chunk
WHERE lane = $1::int AND id = ANY($2::bigint[])
  AND (run = ANY($3::bigint[]) OR country = ANY($4::smallint[]) OR source = ANY($5::text[]));

-- name: sender_waits
-- Whether a message of a sender waits or is on its way on any lane.
-- index: chunk_ready, chunk_claimed
SELECT EXISTS (SELECT FROM chunk WHERE state = 0 AND source = $1::text)
    OR EXISTS (SELECT FROM chunk WHERE state = 1 AND source = $1::text);
