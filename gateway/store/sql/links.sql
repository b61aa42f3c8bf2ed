-- name: add_link_target
-- Keep where links lead, unless it is kept.
-- index: link_target_digest_key, as the arbiter
INSERT INTO link_target (made_at, digest, body) VALUES ($1::timestamptz, $2::bytea, $3::text::jsonb)
ON CONFLICT (digest) DO NOTHING;

-- name: link_target_of
-- Find where links lead by the digest of it.
-- index: link_target_digest_key
SELECT id FROM link_target WHERE digest = $1::bytea;

-- name: link_targets
-- Read where links lead, by ids.
-- index: link_target_pkey
SELECT id, body::text AS body FROM link_target WHERE id = ANY($1::bigint[]);

-- name: links_of
-- Find links by their tokens: those that were asked for at one moment, together.
-- index: link_pkey
SELECT l.bucket, l.token, l.number, l.target, l.run, l.made_at, l.expires_at, l.params
FROM unnest($1::text::int[], $2::text::bigint[]) AS k (bucket, token)
JOIN link l ON l.bucket = k.bucket AND l.token = k.token;

-- name: forget_links
-- Take away the links of a bucket whose end was before a moment.
-- index: link_pkey: the links of the bucket, once a day
DELETE FROM link WHERE bucket = $1::int AND expires_at < $2::timestamptz;

-- name: add_clicks
-- Append who opened links; what is there already stays as it is.
-- index: click_pkey, as the arbiter
INSERT INTO click (bucket, verdict, is_told, id, token, number, target, run, at, made_at, rule, agent)
SELECT k.bucket, k.verdict, k.is_told, k.id, k.token, k.number, k.target, k.run, k.at, k.made_at, k.rule, k.agent
FROM unnest(
    $1::text::int[], $2::text::smallint[], $3::boolean[], $4::text::bigint[], $5::text::bigint[], $6::text::bigint[],
    $7::text::bigint[], $8::text::bigint[], $9::timestamptz[], $10::timestamptz[], $11::text[], $12::text[])
    AS k (bucket, verdict, is_told, id, token, number, target, run, at, made_at, rule, agent)
ON CONFLICT (bucket, id) DO NOTHING;

-- name: note_beacons
-- Note that pages have fetched their picture: of the last opening before it, within ten minutes.
-- index: click_token
UPDATE click c SET beacon_at = k.at
FROM unnest($1::text::int[], $2::text::bigint[], $3::timestamptz[]) AS k (bucket, token, at)
WHERE c.bucket = k.bucket AND c.token = k.token AND c.beacon_at IS NULL AND c.at <= k.at
  AND c.at > k.at - interval '10 minutes';

-- name: untold_clicks
-- Read the oldest clicks about which something is to be done, with when their message was accepted by a carrier, as far as
-- persons were told.
-- index: click_untold; profile_number; person_event_profile
SELECT c.bucket, c.id, c.token, c.verdict, c.rule, c.number, c.target, c.run, c.at, c.made_at, c.beacon_at, c.agent,
       s.at AS submitted_at
FROM (SELECT * FROM click WHERE NOT is_told AND bucket BETWEEN 0 AND 255 ORDER BY at, bucket, id LIMIT $1::int) c
LEFT JOIN LATERAL (
    SELECT min(v.occurred_at) AS at FROM profile p
    JOIN person_event v ON v.bucket = p.bucket AND v.profile = p.id AND v.name = 'submitted'
    WHERE p.bucket = c.bucket AND p.number = c.number AND v.bucket = c.bucket
      AND v.occurred_at >= c.made_at - interval '1 minute' AND v.occurred_at < c.made_at + interval '31 days'
      AND v.properties ->> 'run' = c.run::text) s ON true
ORDER BY c.at, c.bucket, c.id;

-- name: has_untold
-- Say whether anything was opened or filled in about which something is to be done.
-- index: click_untold; page_entry_untold
SELECT EXISTS (SELECT FROM click WHERE NOT is_told AND bucket BETWEEN 0 AND 255)
    OR EXISTS (SELECT FROM page_entry WHERE NOT is_told AND bucket BETWEEN 0 AND 255);

-- name: unlinked_entries
-- Read numbers of a list in a bucket that have no link of a name yet, or all of them ($7), behind a number, in their order;
-- with the values that the link takes of each.
-- index: list_entry_pkey
SELECT e.number, ARRAY(SELECT coalesce(e.attributes ->> f.name, '') FROM unnest($6::text[]) WITH ORDINALITY AS f (name, place)
                       ORDER BY f.place) AS params
FROM list_entry e
WHERE e.bucket = $1::int AND e.list = $2::bigint AND e.number > $3::bigint AND ($7::boolean OR NOT e.attributes ? $4::text)
ORDER BY e.number LIMIT $5::int;

-- name: link_entries
-- Give numbers of a list in a bucket their links, as a value of each.
-- index: list_entry_pkey
UPDATE list_entry e SET attributes = e.attributes || jsonb_build_object($3::text, k.url)
FROM unnest($4::bigint[], $5::text[]) AS k (number, url)
WHERE e.bucket = $1::int AND e.list = $2::bigint AND e.number = k.number;

-- name: decide_clicks
-- Write verdicts down; of whom nothing is to be told, nothing more is to be done.
-- index: click_pkey
UPDATE click c SET verdict = k.verdict, rule = k.rule, is_told = k.is_told
FROM unnest($1::text::int[], $2::text::bigint[], $3::text::smallint[], $4::text[], $5::boolean[])
     AS k (bucket, id, verdict, rule, is_told)
WHERE c.bucket = k.bucket AND c.id = k.id AND NOT c.is_told;

-- name: clicks_of_run
-- Count who opened the links of a run: times, and numbers, by link and verdict.
-- index: click_run
SELECT target, verdict, count(*) AS clicks, count(DISTINCT number) AS people
FROM click WHERE bucket BETWEEN 0 AND 255 AND run = $1::bigint GROUP BY target, verdict ORDER BY target, verdict;

-- name: links_of_run
-- Count the links of a run.
-- index: none: the links of every bucket
SELECT target, count(*) AS links FROM link WHERE bucket BETWEEN 0 AND 255 AND run = $1::bigint GROUP BY target;

-- name: clicks_of_number
-- Read what was opened of a number's links, the newest first.
-- index: click_number
SELECT c.at, c.verdict, c.rule, c.agent, c.run, c.target, c.beacon_at FROM click c
WHERE c.bucket = $1::int AND c.number = $2::bigint ORDER BY c.at DESC, c.id DESC LIMIT $3::int;

-- name: dossier_links
-- Read the links of a number.
-- index: link_number
SELECT to_jsonb(l) AS told FROM link l WHERE l.bucket = $1::int AND l.number = $2::bigint ORDER BY l.made_at, l.token;

-- name: dossier_clicks
-- Read what was opened of the links of a number.
-- index: click_number
SELECT to_jsonb(c) AS told FROM click c WHERE c.bucket = $1::int AND c.number = $2::bigint ORDER BY c.at, c.id;

-- name: dossier_page_entries
-- Read what a number has filled in on pages.
-- index: page_entry_pkey
SELECT to_jsonb(e) AS told FROM page_entry e
WHERE e.bucket = $1::int AND e.number = $2::bigint ORDER BY e.at, e.page, e.form;

-- name: erase_links
-- Take away the links of numbers of a bucket.
-- index: link_number
DELETE FROM link WHERE bucket = $1::int AND number = ANY($2::bigint[]);

-- name: erase_clicks
-- Take away what was opened of the links of numbers of a bucket.
-- index: click_number
DELETE FROM click WHERE bucket = $1::int AND number = ANY($2::bigint[]);

-- name: erase_page_entries
-- Take away what numbers of a bucket have filled in on pages.
-- index: page_entry_pkey
DELETE FROM page_entry WHERE bucket = $1::int AND number = ANY($2::bigint[]);
