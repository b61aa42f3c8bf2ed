-- name: add_source
-- Keep a source under a name that is free.
-- index: source_pkey, as the arbiter
INSERT INTO source (name, dsn, query, region, most_rows, timeout_s, list, at)
VALUES ($1::text, $2::text, $3::text, $4::text, $5::int, $6::int, $7::bigint, $8::timestamptz)
ON CONFLICT (name) DO NOTHING RETURNING name;

-- name: sources
-- Read the sources.
-- index: none, a table of a few rows
SELECT name, dsn, query, region, most_rows, timeout_s, list, at, ran_at FROM source ORDER BY name;

-- name: drop_source
-- Forget a source; its list stays.
-- index: source_pkey
DELETE FROM source WHERE name = $1::text RETURNING name;

-- name: hold_source
-- Let nobody else run a source before our transaction ends; NULL: somebody does.
-- index: source_pkey
SELECT list FROM source WHERE name = $1::text FOR UPDATE SKIP LOCKED;

-- name: source_ran
-- Write down when a source was applied.
-- index: source_pkey
UPDATE source SET ran_at = $2::timestamptz WHERE name = $1::text;

-- name: clear_source_rows
-- Forget what a run has found.
-- index: source_row is read whole, by bucket
DELETE FROM source_row WHERE list = $1::bigint;

-- name: source_entered
-- Write down who comes into a list: found now, and not in it.
-- index: list_entry_pkey (bucket, list, number)
INSERT INTO list_change (bucket, id, list, number, at, is_in, source)
SELECT s.bucket, $2::bigint, s.list, s.number, $3::timestamptz, true, $4::text FROM source_row s
WHERE s.list = $1::bigint
  AND NOT EXISTS (SELECT FROM list_entry e WHERE e.bucket = s.bucket AND e.list = s.list AND e.number = s.number);

-- name: source_left
-- Write down who leaves a list: in it, and not found now.
-- index: source_row_pkey (bucket, list, number)
INSERT INTO list_change (bucket, id, list, number, at, is_in, source)
SELECT e.bucket, $2::bigint, e.list, e.number, $3::timestamptz, false, $4::text FROM list_entry e
WHERE e.list = $1::bigint
  AND NOT EXISTS (SELECT FROM source_row s WHERE s.bucket = e.bucket AND s.list = e.list AND s.number = e.number);

-- name: drop_left
-- Take out of a list who was not found.
-- index: source_row_pkey (bucket, list, number)
DELETE FROM list_entry e
WHERE e.list = $1::bigint
  AND NOT EXISTS (SELECT FROM source_row s WHERE s.bucket = e.bucket AND s.list = e.list AND s.number = e.number);

-- name: take_source_rows
-- Put into a list who was found, with what the query says of them.
-- index: list_entry_pkey, as the arbiter
INSERT INTO list_entry (bucket, list, number, attributes)
SELECT s.bucket, s.list, s.number, s.attributes FROM source_row s WHERE s.list = $1::bigint
ON CONFLICT (bucket, list, number) DO UPDATE SET attributes = excluded.attributes
WHERE list_entry.attributes IS DISTINCT FROM excluded.attributes;
