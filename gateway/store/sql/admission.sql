-- name: hold_buckets
-- Hold the buckets of people about whom is decided, in order, until the COMMIT: who races for the same people waits.
-- index: bucket_gate_pkey
SELECT bucket FROM bucket_gate WHERE bucket = ANY($1::int[]) ORDER BY bucket FOR UPDATE;

-- name: gates
-- Read what some runs ask of everybody, as it is now.
-- index: run_pkey
SELECT id, gate::text AS gate FROM run WHERE id = ANY($1::bigint[]) AND gate IS NOT NULL;

-- name: consent_pages
-- Read the consent pages of some spans of pages for a brand, as columns: all of them one value.
-- OFFSET 0: as a join the planner, who cannot know how narrow a span is, reads the whole table into a hash.
-- index: consent_page_pkey
SELECT string_agg(record_send(ROW (p.bucket, p.page, p.numbers, p.states, p.zones)), ''::bytea)
FROM unnest($1::int[], $2::int[], $3::int[]) AS u (bucket, first, last)
CROSS JOIN LATERAL (
    SELECT c.* FROM consent_page c
    WHERE c.bucket = u.bucket AND c.page BETWEEN u.first AND u.last AND c.brand = $4::text
    OFFSET 0
) p;

-- name: contact_pages
-- Read who of some spans of pages was written to since a moment, or is to be until another, as columns: all one value.
-- OFFSET 0: as in consent_pages.
-- index: contact_page_at (bucket, page, at), of the partitions since then
SELECT string_agg(record_send(ROW (p.bucket, p.page, p.at, p.run, p.kind, p.class, p.brand, p.priority, p.sender, p.tags,
                                   p.numbers)), ''::bytea)
FROM unnest($1::int[], $2::int[], $3::int[]) AS u (bucket, first, last)
CROSS JOIN LATERAL (
    SELECT c.* FROM contact_page c
    WHERE c.bucket = u.bucket AND c.page BETWEEN u.first AND u.last AND c.at >= $4::timestamptz AND c.at <= $5::timestamptz
    OFFSET 0
) p;

-- name: why_suppressed
-- Read what suppresses some numbers, for a sender or for all: the first word that is in force.
-- index: suppression_pkey
SELECT DISTINCT ON (s.number) s.number, f.source
FROM suppression s JOIN stop_feed f ON f.seq = s.since
WHERE s.number = ANY($1::bigint[]) AND s.scope = ANY($2::text[])
ORDER BY s.number, s.since;

-- name: open_consent_pages
-- Make the consent pages of some people where they are missing, and hold them: pages are written from what is committed.
-- index: consent_page_pkey, as the arbiter
INSERT INTO consent_page (bucket, page, brand, numbers, states, zones)
SELECT bucket, page, brand, '', '', '' FROM unnest($1::int[], $2::int[], $3::text[]) AS u (bucket, page, brand)
ORDER BY bucket, page, brand
ON CONFLICT (bucket, page, brand) DO UPDATE SET numbers = consent_page.numbers;

-- name: fill_consent_pages
-- Write consent pages from consent_state (| and << bind alike in Postgres); who holds them sees every change that was committed before.
-- index: consent_state_page (bucket, page, brand); endpoint_pkey; consent_page_pkey
UPDATE consent_page p SET numbers = f.numbers, states = f.states, zones = f.zones
FROM (
    SELECT u.bucket, u.page, u.brand,
           coalesce(string_agg(int8send(c.number), ''::bytea ORDER BY c.number), '') AS numbers,
           coalesce(string_agg(substr(int2send(c.promotional | (c.transactional << 2) | (c.night << 4)), 2), ''::bytea
                               ORDER BY c.number), '') AS states,
           CASE WHEN bool_or(z.id IS NOT NULL)
                THEN string_agg(substr(int4send(coalesce(z.id, 0)), 3), ''::bytea ORDER BY c.number) ELSE '' END AS zones
    FROM unnest($1::int[], $2::int[], $3::text[]) AS u (bucket, page, brand)
    LEFT JOIN consent_state c ON c.bucket = u.bucket AND c.brand = u.brand
         AND ((c.number % 1000003 * 48271 % 2147483647) >> 8 & 255) = u.page
    LEFT JOIN endpoint e ON e.bucket = c.bucket AND e.number = c.number
    LEFT JOIN zone z ON z.name = e.zone
    GROUP BY u.bucket, u.page, u.brand
) f
WHERE p.bucket = f.bucket AND p.page = f.page AND p.brand = f.brand;

-- name: name_id
-- Read the small number of a brand, a tag or a zone ($1).
-- index: brand_name_key, tag_name_key, zone_name_key
SELECT id FROM (
    SELECT 'brand' AS kind, id, name FROM brand UNION ALL SELECT 'tag', id, name FROM tag
    UNION ALL SELECT 'zone', id, name FROM zone
) named WHERE kind = $1::text AND name = $2::text;

-- name: add_brand
-- Give a brand the next number; nothing happens when another was quicker.
-- index: brand_pkey
INSERT INTO brand (id, name) SELECT coalesce(max(id), 0) + 1, $1::text FROM brand ON CONFLICT DO NOTHING;

-- name: add_tag
-- Give a tag the next bit; nothing happens when another was quicker.
-- index: tag_pkey
INSERT INTO tag (id, name) SELECT coalesce(max(id), -1) + 1, $1::text FROM tag ON CONFLICT DO NOTHING;

-- name: add_zone
-- Give a zone the next number; nothing happens when another was quicker.
-- index: zone_pkey
INSERT INTO zone (id, name) SELECT coalesce(max(id), 0) + 1, $1::text FROM zone ON CONFLICT DO NOTHING;

-- name: zone_names
-- Name every zone that a page may carry.
-- index: none, a few hundred rows
SELECT id, name FROM zone;

-- name: put_off
-- Give claimed chunks back of which nobody may be written to now: they wait until their moment. $4 = watermarks, $5 = moments.
-- index: chunk_pkey
UPDATE chunk k
SET state = CASE WHEN u.upto >= k.n THEN 2 ELSE 0 END, sent_upto = u.upto, not_before = u.until, owner = NULL
FROM unnest($2::bigint[], $3::int[], $4::int[], $5::timestamptz[]) AS u (id, epoch, upto, until)
WHERE k.lane = $1::int AND k.id = u.id AND k.epoch = u.epoch AND k.state = 1
RETURNING k.id;

-- name: set_aside
-- Read which positions of claimed chunks go on in others since an earlier claim: they leave from there.
-- index: repeated_pkey
SELECT chunk_id, array_agg(pos) AS positions FROM repeated
WHERE lane = $1::int AND chunk_id = ANY($2::bigint[]) GROUP BY chunk_id;

-- name: origins
-- Read what copies were made of, and in which lane where that is another.
-- index: chunk_pkey
SELECT id, repeats, from_lane FROM chunk WHERE lane = $1::int AND id = ANY($2::bigint[]) AND repeats IS NOT NULL;

-- name: wait_chunk
-- Let the copy of some positions wait until its moment.
-- index: chunk_pkey
UPDATE chunk SET not_before = $3::timestamptz WHERE lane = $1::int AND id = $2::bigint;
