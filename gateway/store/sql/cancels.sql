-- name: mark_cancelled
-- Note on a run that it is cancelled, unless it is already; whoever enqueues people of it waits here, or finds it so.
-- index: run_pkey
UPDATE run SET cancelled_at = coalesce(cancelled_at, $2::timestamptz), cancelled_by = coalesce(cancelled_by, $3::text)
WHERE id = $1::bigint
RETURNING cancelled_at, cancelled_by;

-- name: cancels_since
-- Read the orders since $1 that cancel a run. The set is read whole: an order of a lower id may become visible after one of a
-- higher id.
-- index: control_cancel (at) WHERE action = 'cancel'
SELECT id, key::bigint AS run FROM control WHERE action = 'cancel' AND at >= $1::timestamptz ORDER BY id;

-- name: cancelled_chunks
-- Lock the chunks of some runs ($2) on a lane that nobody has claimed: those that are queued and those that are held.
-- index: chunk_run (lane, run)
SELECT id, n, sent_upto, epoch, repeats FROM chunk
WHERE lane = $1::int AND run = ANY($2::bigint[]) AND state IN (0, 3)
ORDER BY id LIMIT $3::int
FOR UPDATE SKIP LOCKED;

-- name: end_claimed
-- Close chunks that we have claimed and of which nothing is in flight; -> those that were ours still.
-- index: chunk_pkey
UPDATE chunk k SET state = 2, sent_upto = k.n, owner = NULL
FROM unnest($2::bigint[], $3::int[]) AS u (id, epoch)
WHERE k.lane = $1::int AND k.id = u.id AND k.epoch = u.epoch AND k.state = 1
RETURNING k.id, k.n, k.epoch, k.repeats;

-- name: open_of_run
-- Count what of a run may still leave, its watermarks aside: positions of chunks that are queued, claimed or held, and those
-- on their way to another lane.
-- index: chunk_run (lane, run), transfer_open
SELECT coalesce(sum(positions), 0)::bigint FROM (
    SELECT sum(n - sent_upto) AS positions FROM chunk WHERE run = $1::bigint AND state IN (0, 1, 3)
    UNION ALL
    SELECT sum(coalesce(cardinality(t.positions), k.n - t.from_rank))
    FROM transfer t JOIN chunk k ON k.lane = t.lane AND k.id = t.chunk_id
    WHERE k.run = $1::bigint AND t.arrived_at IS NULL
) open;

-- name: fence_workers
-- Let the leases of workers end that do not obey: no beat of theirs is taken any more.
-- index: worker_pkey, stop_fenced_pkey
INSERT INTO stop_fenced (instance) SELECT instance FROM worker WHERE instance = ANY($1::text[])
ON CONFLICT (instance) DO NOTHING;

-- name: fenced_workers
-- Name the workers whose lease ends.
-- index: stop_fenced is a table of a few rows
SELECT instance FROM stop_fenced;
