-- name: take_by_index
-- Have the statements of a transaction look codes up one by one, in the order of their index: of a pool that was just imported
-- the planner thinks that it is small, and sorts all that is free of it for each batch.
-- index: none: no table
SELECT set_config('enable_bitmapscan', 'off', true), set_config('enable_seqscan', 'off', true),
       set_config('enable_sort', 'off', true), set_config('enable_hashjoin', 'off', true);

-- name: write_pool
-- Make a pool, or write down what its offer says now.
-- index: coupon_pool_name_key, as the arbiter
INSERT INTO coupon_pool (name, body, secret, created_at) VALUES ($1::text, $2::jsonb, $3::bytea, $4::timestamptz)
ON CONFLICT (name) DO UPDATE SET body = excluded.body
RETURNING id;

-- name: pools
-- Read pools: one by its name, or all.
-- index: coupon_pool_name_key; all of them are few
SELECT id, name, body, secret, next, total, longest, alerted, created_at FROM coupon_pool
WHERE $1::text = '' OR name = $1::text ORDER BY name;

-- name: static_codes
-- Find the pools of codes that all have, by a code however it is written.
-- index: none: pools are few
SELECT id, name FROM coupon_pool WHERE body ->> 'kind' = 'static' AND upper(body ->> 'code') = ANY($1::text[]);

-- name: has_pools
-- Say whether there is any offer.
-- index: none: one row of a small table
SELECT EXISTS (SELECT FROM coupon_pool);

-- name: add_codes
-- Put codes into a pool; -> those that were nobody's before.
-- index: coupon_code, as the arbiter
INSERT INTO coupon (pool, code) SELECT $1::bigint, k.code FROM unnest($2::text::text[]) AS k (code)
ON CONFLICT (upper(code)) DO NOTHING
RETURNING code;

-- name: codes_of_others
-- Say of codes in capitals which pool has them.
-- index: coupon_code
SELECT upper(c.code) AS code, c.pool FROM unnest($1::text::text[]) AS k (code) JOIN coupon c ON upper(c.code) = k.code;

-- name: note_codes
-- Count what was put into a pool; whoever was told that little is left is told again.
-- index: coupon_pool_pkey
UPDATE coupon_pool SET total = total + $2::bigint, longest = greatest(longest, $3::int), alerted = 100 WHERE id = $1::bigint;

-- name: reserved_codes
-- Read the codes that keys of a pool have: one look into the index for each.
-- index: coupon_key
SELECT k.key, c.code FROM unnest($2::text::text[]) AS k (key)
CROSS JOIN LATERAL (SELECT code FROM coupon WHERE pool = $1::bigint AND key = k.key LIMIT 1) c;

-- name: take_codes
-- Take free codes of a pool for keys, past those that others are taking; fewer where it is empty. Both stand beside each
-- other by their places.
-- index: coupon_free (pool, id) WHERE state = 0; coupon_pkey
WITH free AS (
    SELECT array_agg(f.id) AS ids FROM (
        SELECT id FROM coupon WHERE pool = $1::bigint AND state = 0 ORDER BY id LIMIT $5::int FOR UPDATE SKIP LOCKED) f
), pairs AS (
    SELECT unnest(free.ids) AS id, unnest($2::text::text[]) AS key, unnest($3::text::bigint[]) AS number FROM free
)
UPDATE coupon c SET state = 1, key = p.key, number = p.number, reserved_at = $4::timestamptz
FROM pairs p WHERE c.id = p.id
RETURNING c.key, c.code;

-- name: take_numbers
-- Give the next numbers of a generator away; -> the first behind them.
-- index: coupon_pool_pkey
UPDATE coupon_pool SET next = next + $2::bigint WHERE id = $1::bigint RETURNING next;

-- name: make_codes
-- Write down codes that were made for keys; what another pool has, or a key that has one meanwhile, is left out.
-- index: coupon_code, coupon_key, as arbiters
INSERT INTO coupon (pool, state, code, key, number, reserved_at)
SELECT $1::bigint, 1, k.code, k.key, k.number, $5::timestamptz
FROM unnest($2::text::text[], $3::text::text[], $4::text::bigint[]) AS k (code, key, number)
ON CONFLICT DO NOTHING
RETURNING key, code;

-- name: free_codes
-- Count the free codes of a pool up to a number.
-- index: coupon_free
SELECT count(*) FROM (SELECT FROM coupon WHERE pool = $1::bigint AND state = 0 LIMIT $2::bigint) f;

-- name: held_coupons
-- Read the codes of keys.
-- index: coupon_key
SELECT c.id, c.pool, c.key, c.code, c.number, c.state, c.issued_at
FROM unnest($1::text::bigint[], $2::text::text[]) AS k (pool, key)
CROSS JOIN LATERAL (SELECT * FROM coupon WHERE pool = k.pool AND key = k.key LIMIT 1) c;

-- name: hold_coupons
-- Hold the codes of keys, in their order, so that two who change them do not wait for each other.
-- index: coupon_key
SELECT c.id, c.pool, c.key, c.code, c.number, c.state, c.issued_at
FROM unnest($1::text::bigint[], $2::text::text[]) AS k (pool, key) JOIN coupon c ON c.pool = k.pool AND c.key = k.key
ORDER BY c.id FOR UPDATE OF c;

-- name: issue_coupons
-- Write down that codes were sent, with which message, and when they end.
-- index: coupon_pkey
UPDATE coupon c
SET state = CASE WHEN c.state = 1 THEN 2 ELSE c.state END, issued_at = k.at, expires_at = k.expires_at, run = k.run,
    lane = k.lane, chunk_id = k.chunk_id, pos = k.pos
FROM unnest($1::bigint[], $2::timestamptz[], $3::timestamptz[], $4::bigint[], $5::int[], $6::bigint[], $7::int[])
     AS k (id, at, expires_at, run, lane, chunk_id, pos)
WHERE c.id = k.id AND c.issued_at IS NULL AND c.state IN (1, 3);

-- name: begin_life
-- Let codes end whose message left us, whatever the SMSC said of it: they are nobody else's any more.
-- index: coupon_pkey
UPDATE coupon c SET expires_at = k.expires_at FROM unnest($1::bigint[], $2::timestamptz[]) AS k (id, expires_at)
WHERE c.id = k.id AND c.state = 1 AND c.expires_at IS NULL;

-- name: release_coupons
-- Give codes back whose message was certainly not sent.
-- index: coupon_pkey
UPDATE coupon SET state = 0, key = NULL, number = NULL, reserved_at = NULL
WHERE id = ANY($1::bigint[]) AND state = 1 AND expires_at IS NULL;

-- name: unmake_coupons
-- Forget codes of generators whose message was certainly not sent: they are never made again.
-- index: coupon_pkey
DELETE FROM coupon WHERE id = ANY($1::bigint[]) AND state = 1 AND expires_at IS NULL;

-- name: expire_coupons
-- Let codes end whose time is over, the oldest first.
-- index: coupon_expiry (expires_at) WHERE state IN (1, 2) AND expires_at IS NOT NULL; coupon_pkey
UPDATE coupon SET state = 4
WHERE id = ANY(ARRAY(SELECT c.id FROM coupon c WHERE c.state IN (1, 2) AND c.expires_at <= $1::timestamptz
                     ORDER BY c.expires_at LIMIT $2::int FOR UPDATE SKIP LOCKED));

-- name: hold_coupon
-- Hold one code, however it is written.
-- index: coupon_code
SELECT c.id, c.pool, c.code, c.state, c.key, c.number, c.reserved_at, c.issued_at, c.expires_at, c.redeemed_at, c.order_key,
       c.run, p.name, p.body
FROM coupon c JOIN coupon_pool p ON p.id = c.pool WHERE upper(c.code) = upper($1::text) FOR UPDATE OF c;

-- name: redeem_coupon
-- Write down the order that a code was used in.
-- index: coupon_pkey
UPDATE coupon SET state = 3, redeemed_at = $2::timestamptz, order_key = $3::text WHERE id = $1::bigint;

-- name: use_static
-- Write down an order in which a code that all have was used; -> nothing where it is written down already.
-- index: coupon_use_pkey, as the arbiter
INSERT INTO coupon_use (pool, order_key, at) VALUES ($1::bigint, $2::text, $3::timestamptz)
ON CONFLICT (pool, order_key) DO NOTHING RETURNING pool;

-- name: void_coupon
-- Take a code out of use for ever.
-- index: coupon_pkey
UPDATE coupon SET state = 5, key = NULL WHERE id = $1::bigint;

-- name: void_free
-- Take what is free of a pool out of use for ever.
-- index: coupon_free
UPDATE coupon SET state = 5 WHERE pool = $1::bigint AND state = 0;

-- name: coupon_states
-- Count the codes of a pool by what became of them.
-- index: none: the pool as a whole; asked by a person
SELECT state, count(*) AS n FROM coupon WHERE pool = $1::bigint GROUP BY state ORDER BY state;

-- name: static_uses
-- Count the orders with a code that all have.
-- index: coupon_use_pkey
SELECT count(*) FROM coupon_use WHERE pool = $1::bigint;

-- name: note_alerted
-- Remember at which share left somebody was told.
-- index: coupon_pool_pkey
UPDATE coupon_pool SET alerted = $2::smallint WHERE id = $1::bigint;

-- name: carry_coupons
-- Write down which column of a run's payload holds the keys of codes of a pool.
-- index: coupon_run_pkey, as the arbiter
INSERT INTO coupon_run (run, pool, field) VALUES ($1::bigint, $2::bigint, $3::int) ON CONFLICT (run, pool) DO NOTHING;

-- name: carry_lists
-- Write down which runs are over lists of which everybody has a code.
-- index: coupon_list_pkey; runs of a list are few
INSERT INTO coupon_run (run, pool, field)
SELECT r.id, l.pool, 0 FROM coupon_list l JOIN run r ON r.list = l.list
WHERE NOT EXISTS (SELECT FROM coupon_run x WHERE x.run = r.id AND x.pool = l.pool)
ON CONFLICT (run, pool) DO NOTHING;

-- name: drop_carried
-- Forget runs that are gone.
-- index: none: all of them, once an hour
DELETE FROM coupon_run c WHERE NOT EXISTS (SELECT FROM run r WHERE r.id = c.run);

-- name: carrying
-- Read the runs that carry codes, with the list that each is over.
-- index: coupon_run_pkey, as a whole
SELECT c.run, c.pool, c.field, r.list FROM coupon_run c JOIN run r ON r.id = c.run ORDER BY c.run, c.pool;

-- name: coupon_outcomes
-- Read what came of messages with codes on a lane in a span of time, the oldest first. $4, $5: runs, and the column of their
-- payload that holds the key; 0: none does. is_unsent: no octet of it ever left, and none will: it was refused as a whole,
-- in the chunk that it was first put into, and nothing else is known of it.
-- index: outcome_at (brin), of the partitions since then; chunk_pkey; chunk_payload_pkey; outcome_chunk; repeated_pkey
SELECT o.chunk_id, o.pos, o.at, o.status, k.run, p.msisdn[o.pos + 1] AS number, c.field,
       CASE WHEN c.field > 0 THEN p.params[o.pos + 1][c.field] END AS key,
       o.status < -1 AND o.status <> -17 AND (o.segment = 0 OR o.segments <= 1) AND k.repeats IS NULL
       AND NOT EXISTS (
           SELECT FROM outcome x WHERE x.lane = $1::int AND x.chunk_id = o.chunk_id AND x.pos = o.pos
             AND (x.status >= -1 OR x.status = -17 OR x.segments > 1 AND x.segment > 0))
       AND NOT EXISTS (SELECT FROM repeated y WHERE y.lane = $1::int AND y.chunk_id = o.chunk_id AND y.pos = o.pos)
       AS is_unsent
FROM outcome o JOIN chunk k ON k.lane = o.lane AND k.id = o.chunk_id
JOIN chunk_payload p ON p.lane = o.lane AND p.chunk_id = o.chunk_id
JOIN unnest($4::text::bigint[], $5::text::int[]) AS c (run, field) ON c.run = k.run
WHERE o.lane = $1::int AND k.lane = $1::int AND p.lane = $1::int AND o.at >= $2::timestamptz AND o.at < $3::timestamptz
  AND o.segment <= 1 AND o.status <> -1
ORDER BY o.at, o.chunk_id, o.pos LIMIT $6::int;

-- name: add_coupons_told
-- Write down which codes orders name; codes of one stand with blanks between them.
-- index: coupon_told_pkey, as the arbiter
INSERT INTO coupon_told (bucket, id, at, name, order_key, codes)
SELECT k.bucket, k.id, timestamptz 'epoch' + k.us * interval '1 microsecond', k.name, k.order_key, string_to_array(k.codes, ' ')
FROM unnest($1::text::int[], $2::text::bigint[], $3::text::bigint[], $4::text::text[], $5::text::text[], $6::text::text[])
     AS k (bucket, id, us, name, order_key, codes)
ON CONFLICT (bucket, id) DO NOTHING;

-- name: coupons_told
-- Read orders that name codes, the oldest first: of two the earlier has the code.
-- index: none: there are few
SELECT bucket, id, at, name, order_key, codes FROM coupon_told ORDER BY at, bucket, id LIMIT $1::int;

-- name: drop_coupons_told
-- Forget orders of a bucket whose codes were redeemed.
-- index: coupon_told_pkey
DELETE FROM coupon_told WHERE bucket = $1::int AND id = ANY($2::bigint[]);

-- name: entries_without
-- Read numbers of a list in a bucket that have nothing in a field, behind one.
-- index: list_entry_pkey
SELECT number FROM list_entry
WHERE bucket = $1::int AND list = $2::bigint AND number > $4::bigint AND NOT attributes ? $3::text
ORDER BY number LIMIT $5::int;

-- name: write_entry_codes
-- Put codes into a field of people of a list.
-- index: list_entry_pkey
UPDATE list_entry e SET attributes = e.attributes || jsonb_build_object($3::text, k.code)
FROM unnest($4::text::bigint[], $5::text::text[]) AS k (number, code)
WHERE e.bucket = $1::int AND e.list = $2::bigint AND e.number = k.number;

-- name: note_list_coupons
-- Write down that everybody of a list has a code, and in which field.
-- index: coupon_list_pkey, as the arbiter
INSERT INTO coupon_list (list, pool, field, at) VALUES ($1::bigint, $2::bigint, $3::text, $4::timestamptz)
ON CONFLICT (list, pool) DO NOTHING;

-- name: coupon_lists
-- Read the fields of a list that hold codes.
-- index: coupon_list_pkey
SELECT pool, field FROM coupon_list WHERE list = $1::bigint;

-- name: add_list_field
-- Let a list have one more field.
-- index: contact_list_pkey
UPDATE contact_list SET fields = array_append(fields, $2::text) WHERE id = $1::bigint AND NOT $2::text = ANY(fields);

-- name: erase_coupons
-- Let codes of numbers be nobody's; what of them was not sent is never given to anybody.
-- index: coupon_number
UPDATE coupon SET number = NULL, key = 'erased:' || id, state = CASE WHEN state = 1 THEN 5 ELSE state END
WHERE number = ANY($1::bigint[]);

-- name: dossier_coupons
-- Read the codes that a number has.
-- index: coupon_number
SELECT jsonb_build_object('code', c.code, 'pool', p.name, 'state', c.state, 'reserved_at', c.reserved_at,
                          'issued_at', c.issued_at, 'expires_at', c.expires_at, 'redeemed_at', c.redeemed_at,
                          'order', c.order_key) AS told
FROM coupon c JOIN coupon_pool p ON p.id = c.pool WHERE c.number = $1::bigint ORDER BY c.id;
