-- name: announce
-- Note whom a run means to write to, and when: the people of its list, by pages. A list is looked into bucket by bucket.
-- $1 = list, $2 = buckets, $3 = when they are due, $4 = run, $5 = class, $6 = brand, $7 = rank, $8 = tags.
-- index: list_entry_pkey (bucket, list, number)
INSERT INTO contact_page (bucket, page, at, run, sender, kind, class, brand, priority, tags, numbers)
SELECT bucket, ((number % 1000003 * 48271 % 2147483647) >> 8 & 255)::int AS page, $3::timestamptz, $4::bigint, 0, 0,
       $5::smallint, $6::smallint, $7::smallint, $8::bigint, string_agg(int8send(number), ''::bytea ORDER BY number)
FROM list_entry WHERE bucket = ANY($2::int[]) AND list = $1::bigint
GROUP BY 1, 2;

-- name: announce_numbers
-- The same of some numbers ($1).
-- index: none
INSERT INTO contact_page (bucket, page, at, run, sender, kind, class, brand, priority, tags, numbers)
SELECT ((n # (n >> 8) # (n >> 16) # (n >> 24)) & 255)::int AS bucket,
       ((n % 1000003 * 48271 % 2147483647) >> 8 & 255)::int AS page, $2::timestamptz, $3::bigint, 0, 0,
       $4::smallint, $5::smallint, $6::smallint, $7::bigint, string_agg(int8send(n), ''::bytea ORDER BY n)
FROM unnest($1::bigint[]) AS n
GROUP BY 1, 2;

-- name: live_gates
-- Read what the other runs with a list and a gate ask that are not over, or that are about to be enqueued.
-- index: none, a table of a few thousand rows
SELECT id, class, priority, lanes, not_before, gate::text AS gate, enqueued_at IS NOT NULL AS is_enqueued FROM run
WHERE gate IS NOT NULL AND list IS NOT NULL AND id <> $1::bigint
      AND (expires_at IS NULL OR expires_at > $2::timestamptz) AND cancelled_at IS NULL
      AND (enqueued_at IS NOT NULL OR created_at > $2::timestamptz - interval '1 hour')
ORDER BY id;

-- name: set_announces
-- Let a run tell whom it means to write to, from its next claim on.
-- index: run_pkey
UPDATE run SET gate = gate || '{"announces": true}' WHERE id = $1::bigint;

-- name: ready_numbers
-- Read the people of the next chunks of a run behind one ($3) that nobody has claimed.
-- index: chunk_run (lane, run); chunk_payload_pkey
SELECT c.id, p.msisdn AS numbers FROM chunk c JOIN chunk_payload p ON p.lane = $1::int AND p.chunk_id = c.id
WHERE c.lane = $1::int AND c.run = $2::bigint AND c.id > $3::bigint AND c.state = 0
ORDER BY c.id LIMIT $4::int;
