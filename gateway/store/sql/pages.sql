-- name: newest_page
-- Read the newest version of a page.
-- index: page_pkey
SELECT version, body::text AS body FROM page WHERE name = $1::text ORDER BY version DESC LIMIT 1;

-- name: add_page
-- Keep a version of a page.
-- index: page_pkey
INSERT INTO page (name, version, at, by, body) VALUES ($1::text, $2::int, $3::timestamptz, $4::text, $5::text::jsonb);

-- name: all_pages
-- Read the newest version of every page.
-- index: page_pkey
SELECT DISTINCT ON (name) name, version, at, by, body::text AS body FROM page ORDER BY name, version DESC;

-- name: enter_page
-- Keep what was filled in, once; -> its bucket, or nothing where it was there.
-- index: page_entry_pkey, as the arbiter
INSERT INTO page_entry (bucket, id, number, scope, target, run, at, form, page, version, answers)
VALUES ($1::int, $2::bigint, $3::bigint, $4::bigint, $5::bigint, $6::bigint, $7::timestamptz, $8::text, $9::text, $10::int,
        $11::text::jsonb)
ON CONFLICT (bucket, number, page, form, scope) DO NOTHING RETURNING bucket;

-- name: untold_entries
-- Read the oldest entries that are not told yet, with the page that was filled in.
-- index: page_entry_untold; page_pkey
SELECT e.bucket, e.id, e.number, e.target, e.run, e.at, e.form, e.page, e.version, e.answers::text AS answers
FROM page_entry e WHERE NOT e.is_told AND e.bucket BETWEEN 0 AND 255 ORDER BY e.at, e.bucket, e.id LIMIT $1::int;

-- name: page_version
-- Read one version of a page.
-- index: page_pkey
SELECT body::text AS body FROM page WHERE name = $1::text AND version = $2::int;

-- name: tell_entries
-- Note that entries were told.
-- index: page_entry_untold
UPDATE page_entry e SET is_told = true
FROM unnest($1::text::int[], $2::text::bigint[]) AS k (bucket, id)
WHERE e.bucket = k.bucket AND e.id = k.id AND NOT e.is_told;

-- name: count_entries
-- Count what was filled in on a page, by form.
-- index: none: the entries of every bucket
SELECT form, count(*) AS n FROM page_entry WHERE bucket BETWEEN 0 AND 255 AND page = $1::text GROUP BY form ORDER BY form;
