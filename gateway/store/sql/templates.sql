-- name: template_page
-- Read the people of a list within a bucket, as a page to be rendered.
-- index: list_entry_pkey (bucket, list, number)
SELECT number, attributes FROM list_entry WHERE bucket = $1::int AND list = $2::bigint;

-- name: note_skipped
-- Write down who of a bucket gets nothing of a run, for one reason, and its words.
-- index: run_skipped_pkey
INSERT INTO run_skipped (bucket, run, reason, people, numbers, words)
VALUES ($1::int, $2::bigint, $3::int, $4::int, $5::bytea, $6::text::jsonb);

-- name: redress_run
-- Give a run that nobody was enqueued of another text and list; -> its id, if it was one.
-- index: run_pkey
UPDATE run SET template = $2::text, fields = $3::text[], list = $4::bigint
WHERE id = $1::bigint AND enqueued_at IS NULL RETURNING id;

-- name: note_template
-- Keep a version of a template.
-- index: template_pkey
INSERT INTO template (sha256, body, noted_at) VALUES ($1::bytea, $2::text::jsonb, $3::timestamptz)
ON CONFLICT (sha256) DO NOTHING;

-- name: note_tested
-- Note that a version of a template was sent as a test.
-- index: template_pkey
UPDATE template SET tested_at = $2::timestamptz, tested_run = $3::bigint WHERE sha256 = $1::bytea;

-- name: was_tested
-- Say whether a version of a template was sent as a test.
-- index: template_pkey
SELECT tested_at IS NOT NULL FROM template WHERE sha256 = $1::bytea;

-- name: add_test_number
-- Let tests be sent to a number.
-- index: test_number_pkey
INSERT INTO test_number (number, added_by, added_at) VALUES ($1::bigint, $2::text, $3::timestamptz)
ON CONFLICT (number) DO NOTHING RETURNING number;

-- name: remove_test_number
-- Send no tests to a number any more.
-- index: test_number_pkey
DELETE FROM test_number WHERE number = $1::bigint RETURNING number;

-- name: test_numbers
-- List the numbers that tests may be sent to.
-- index: none, a table of a few rows
SELECT number, added_by, added_at FROM test_number ORDER BY number;
