-- name: add_list_entries
-- Put numbers of a bucket into a list; -> those that were not in it.
-- index: list_entry_pkey, as the arbiter
INSERT INTO list_entry (bucket, list, number, attributes)
SELECT $1::int, $2::bigint, k.number, '{}' FROM unnest($3::bigint[]) AS k (number) ORDER BY k.number
ON CONFLICT (bucket, list, number) DO NOTHING
RETURNING number;

-- name: remove_list_entries
-- Take numbers of a bucket out of a list; -> those that were in it.
-- index: list_entry_pkey
DELETE FROM list_entry WHERE bucket = $1::int AND list = $2::bigint AND number = ANY($3::bigint[]) RETURNING number;

-- name: add_list_endpoints
-- Make endpoints of numbers of a bucket that are none yet.
-- index: endpoint_pkey, as the arbiter
INSERT INTO endpoint (bucket, number, created_at, updated_at)
SELECT $1::int, k.number, $3::timestamptz, $3::timestamptz FROM unnest($2::bigint[]) AS k (number) ORDER BY k.number
ON CONFLICT (bucket, number) DO NOTHING;

-- name: add_list_changes
-- Append who came into a list, or went out of it, and why.
-- index: list_change_pkey
INSERT INTO list_change (bucket, id, list, number, at, is_in, source)
SELECT $1::int, k.id, $2::bigint, k.number, $3::timestamptz, $4::boolean, $5::text
FROM unnest($6::bigint[], $7::bigint[]) AS k (id, number);

-- name: count_list_entries
-- Count the entries of a list.
-- index: list_entry_pkey: of each bucket those of the list
SELECT count(*) FROM list_entry WHERE list = $1::bigint AND bucket BETWEEN 0 AND 255;

-- name: note_list_entries
-- Write down how many entries a list has.
-- index: contact_list_pkey
UPDATE contact_list SET entries = $2::bigint WHERE id = $1::bigint;

-- name: list_changes_of
-- Read how a number came into a list and went out of it.
-- index: list_change_pkey
SELECT number, at, is_in, source FROM list_change
WHERE bucket = $1::int AND list = $2::bigint AND number = $3::bigint ORDER BY at, id;

-- name: is_listed
-- Say whether a number is in a list.
-- index: list_entry_pkey
SELECT EXISTS (SELECT FROM list_entry WHERE bucket = $1::int AND list = $2::bigint AND number = $3::bigint);

-- name: list_sources
-- Count by source who came into a list, and who went out of it.
-- index: none: of each bucket what has changed in the list
SELECT source, is_in, count(*) AS n, max(at) AS at FROM list_change
WHERE list = $1::bigint AND bucket BETWEEN 0 AND 255 GROUP BY source, is_in ORDER BY source, is_in DESC;
