-- name: open_import
-- Find how far a file is taken in, or write down that it is begun; -> as of when it tells, how far, and whether it is done.
-- index: import_file_pkey, as the arbiter
INSERT INTO import_file AS f (sha256, plan, kind, name, as_of, at)
VALUES ($1::bytea, $2::bytea, $3::text, $4::text, $5::timestamptz, $6::timestamptz)
ON CONFLICT (sha256, plan) DO UPDATE SET at = excluded.at
RETURNING f.line, f.as_of, f.finished_at;

-- name: import_went
-- Write down how far a file is taken in.
-- index: import_file_pkey
UPDATE import_file SET line = greatest(line, $3::bigint), at = $4::timestamptz
WHERE sha256 = $1::bytea AND plan = $2::bytea;

-- name: finish_import
-- Write down that a whole file is taken in.
-- index: import_file_pkey
UPDATE import_file SET finished_at = $3::timestamptz WHERE sha256 = $1::bytea AND plan = $2::bytea;

-- name: note_lines_of_numbers
-- Keep what kinds of line numbers are, making endpoints of those that are new.
-- index: endpoint_pkey, as the arbiter
INSERT INTO endpoint AS e (bucket, number, kind, created_at, updated_at)
SELECT k.bucket, k.number, k.kind, $4::timestamptz, $4::timestamptz
FROM unnest($1::int[], $2::bigint[], $3::text[]) AS k (bucket, number, kind)
ON CONFLICT (bucket, number) DO UPDATE SET kind = excluded.kind, updated_at = excluded.updated_at
WHERE e.kind IS DISTINCT FROM excluded.kind;

-- name: stopped_among
-- Say which of some numbers are stopped for everything: by the newest entry of each.
-- index: stop_feed_number (number, seq)
SELECT n.number FROM unnest($1::bigint[]) AS n (number)
WHERE (SELECT f.is_stop FROM stop_feed f WHERE f.number = n.number AND f.scope = '*' ORDER BY f.seq DESC LIMIT 1);

-- name: agreed_among
-- Say which of some numbers have agreed to promotional messages of a brand or a programme: the longest name of $3 has the say.
-- index: consent_state_pkey (bucket, number, brand)
SELECT number FROM (
    SELECT DISTINCT ON (s.number) s.number, s.promotional FROM unnest($1::int[], $2::bigint[]) AS n (bucket, number)
    JOIN consent_state s ON s.bucket = n.bucket AND s.number = n.number
    WHERE s.brand = ANY($3::text[]) ORDER BY s.number, length(s.brand) DESC
) said WHERE promotional = $4::smallint;
