-- name: register_worker
-- Enter this process under its node and place; no row when somebody else stands there.
-- index: worker_pkey, worker_place
INSERT INTO worker (instance, host, boot, pid, started_at, seen_at, node, place, carriers)
VALUES ($1::text, $2::text, $3::text, $4::int, $5::timestamptz, $5::timestamptz, $6::text, $7::int, $8::text[])
ON CONFLICT (node, place) DO NOTHING
RETURNING instance;

-- name: place_holder
-- Read who stands at a place of a node.
-- index: worker_place
SELECT instance, host, boot, pid, started_at, seen_at, node, place, carriers, beat, report::text AS report
FROM worker WHERE node = $1::text AND place = $2::int;

-- name: beat
-- Say that this process is alive; no row: it was fenced, or did not confirm a STOP, and is to send nothing more.
-- index: worker_pkey, stop_fenced_pkey
UPDATE worker SET beat = beat + 1, seen_at = $2::timestamptz, carriers = $3::text[]
WHERE instance = $1::text AND NOT EXISTS (SELECT FROM stop_fenced f WHERE f.instance = $1::text)
RETURNING beat;

-- name: hold_worker
-- Keep this process from being fenced until the transaction ends; no row: it was.
-- index: worker_pkey
SELECT instance FROM worker WHERE instance = $1::text FOR KEY SHARE;

-- name: fence_worker
-- Take out a process whose beat is still the one that was seen; no row: it lives, or somebody was quicker.
-- index: worker_pkey
DELETE FROM worker WHERE instance = $1::text AND beat = $2::bigint RETURNING instance;

-- name: forget_worker
-- Take a process out that leaves.
-- index: worker_pkey
DELETE FROM worker WHERE instance = $1::text RETURNING instance;

-- name: free_slots_of
-- Free the bind slots of a process that is gone; locked in the order that everybody locks them in.
-- index: none, a table of a few rows
UPDATE bind_slot SET owner = NULL, epoch = epoch + 1, share = 0
WHERE (lane, slot) IN (
    SELECT lane, slot FROM bind_slot WHERE owner = $1::text ORDER BY lane, slot FOR UPDATE
);

-- name: make_slots
-- Have a row for each bind that an account may have.
-- index: bind_slot_pkey
INSERT INTO bind_slot (lane, slot) SELECT $1::int, slot FROM generate_series(1, $2::int) AS slot
ON CONFLICT (lane, slot) DO NOTHING;

-- name: slots
-- Read the bind slots of a lane.
-- index: bind_slot_pkey
SELECT slot, owner, epoch, share FROM bind_slot WHERE lane = $1::int ORDER BY slot;

-- name: lock_slots
-- Read the bind slots of a lane and keep others from changing them until the transaction ends.
-- index: bind_slot_pkey
SELECT slot, owner, epoch, share FROM bind_slot WHERE lane = $1::int ORDER BY slot FOR UPDATE;

-- name: change_slots
-- Write the bind slots of a lane that this transaction has locked.
-- index: bind_slot_pkey
UPDATE bind_slot b SET owner = u.owner, epoch = u.epoch, share = u.share
FROM unnest($2::int[], $3::text[], $4::bigint[], $5::int[]) AS u (slot, owner, epoch, share)
WHERE b.lane = $1::int AND b.slot = u.slot;

-- name: tell_slots
-- Tell everybody that bind slots have changed, when the transaction ends.
-- index: none, reads no table
SELECT pg_notify('sluice_slots', '');
