-- name: persons_of_bucket
-- List the persons of a bucket behind one.
-- index: profile_pkey
SELECT id FROM profile WHERE bucket = $1::int AND id > $2::bigint ORDER BY id LIMIT $3::int;

-- name: forget_totals
-- Drop the counts of some persons, which are counted anew.
-- index: event_total_pkey
DELETE FROM event_total WHERE bucket = $1::int AND profile = ANY($2::bigint[]);

-- name: count_totals
-- Count the events of some persons by name.
-- index: person_event_profile
INSERT INTO event_total (bucket, profile, name, count, first_at, last_at)
SELECT $1::int, v.profile, v.name, count(*), min(v.occurred_at), max(v.occurred_at)
FROM person_event v WHERE v.bucket = $1::int AND v.profile = ANY($2::bigint[]) GROUP BY v.profile, v.name;

-- name: forget_person_orders
-- Drop the orders of some persons, which are read anew.
-- index: person_order_pkey
DELETE FROM person_order WHERE bucket = $1::int AND profile = ANY($2::bigint[]);

-- name: order_events
-- Read what was said of orders of some persons.
-- index: person_event_profile
SELECT v.profile, v.name, v.occurred_at, v.id, v.event_id, v.properties FROM person_event v
WHERE v.bucket = $1::int AND v.profile = ANY($2::bigint[]) AND v.name IN ('order_placed', 'order_cancelled', 'refunded');

-- name: recount
-- Compute the aggregates of some persons ($2) from what they did and from their orders (EV-9). A session begins with an
-- event of theirs that has none in the $3 before it, or the end of a session between.
-- index: person_event_profile; person_order_pkey; profile_pkey
WITH told AS MATERIALIZED (
    SELECT v.profile, v.id, v.occurred_at, v.flags, v.properties, v.name, v.name = 'session_ended' AS is_end
    FROM person_event v WHERE v.bucket = $1::int AND v.profile = ANY($2::bigint[])
), followed AS (
    SELECT profile, occurred_at, is_end, lag(occurred_at) OVER w AS before_at, lag(is_end) OVER w AS before_is_end
    FROM told WHERE flags & 8 = 0 OR is_end WINDOW w AS (PARTITION BY profile ORDER BY occurred_at, is_end)
), begun AS (
    SELECT profile, count(*) FILTER (
        WHERE NOT is_end AND (before_at IS NULL OR before_is_end OR occurred_at - before_at > $3::interval)) AS sessions
    FROM followed GROUP BY profile
), times AS (
    SELECT profile, min(occurred_at) FILTER (WHERE flags & 8 = 0 AND NOT is_end) AS first_at,
           max(occurred_at) FILTER (WHERE flags & 8 = 0 AND NOT is_end) AS last_at,
           max(occurred_at) FILTER (WHERE flags & 14 = 0 AND NOT is_end) AS live_at,
           max(occurred_at) FILTER (WHERE is_end) AS end_at,
           max(occurred_at) FILTER (WHERE name = 'clicked' AND coalesce(properties ->> 'verdict', 'human') = 'human') AS click_at,
           max(occurred_at) FILTER (WHERE name = 'replied') AS reply_at
    FROM told GROUP BY profile
), marks AS (
    SELECT profile, occurred_at, id, (
        SELECT jsonb_object_agg(m.key, m.value) FROM jsonb_each(properties) m
        WHERE m.key IN ('utm_source', 'utm_medium', 'utm_campaign', 'utm_term', 'utm_content')
          AND jsonb_typeof(m.value) = 'string')
        || jsonb_build_object('at', (extract(epoch FROM occurred_at) * 1000000)::bigint, 'id', id) AS mark
    FROM told WHERE properties ?| ARRAY['utm_source', 'utm_medium', 'utm_campaign', 'utm_term', 'utm_content']
), firsts AS (
    SELECT DISTINCT ON (profile) profile, mark FROM marks WHERE mark IS NOT NULL ORDER BY profile, occurred_at, id
), lasts AS (
    SELECT DISTINCT ON (profile) profile, mark FROM marks WHERE mark IS NOT NULL ORDER BY profile, occurred_at DESC, id DESC
), bought AS (
    SELECT o.profile, count(*) AS orders, min(o.placed_at) AS first_at, max(o.placed_at) AS last_at
    FROM person_order o WHERE o.bucket = $1::int AND o.profile = ANY($2::bigint[]) AND o.is_counted GROUP BY o.profile
), paid AS (
    SELECT o.profile, coalesce(nullif(o.currency, ''), 'XXX') AS currency,
           sum(o.amount - coalesce((o.refunded ->> o.currency)::bigint, 0)
               - CASE WHEN o.currency = '' THEN 0 ELSE coalesce((o.refunded ->> '')::bigint, 0) END)::bigint AS net
    FROM person_order o WHERE o.bucket = $1::int AND o.profile = ANY($2::bigint[]) AND o.is_counted GROUP BY 1, 2
), spent AS (
    SELECT profile, jsonb_object_agg(currency, net) AS spent FROM paid WHERE net <> 0 GROUP BY profile
)
UPDATE profile p
SET first_seen_at = t.first_at, last_seen_at = t.last_at,
    session_at = CASE WHEN t.end_at IS NULL OR t.live_at > t.end_at THEN t.live_at END, sessions = coalesce(b.sessions, 0),
    last_click_at = t.click_at, last_reply_at = t.reply_at, utm_first = f.mark, utm_last = l.mark,
    orders = coalesce(o.orders, 0), first_order_at = o.first_at, last_order_at = o.last_at, spent = coalesce(s.spent, '{}')
FROM unnest($2::bigint[]) AS k (id) LEFT JOIN times t ON t.profile = k.id LEFT JOIN begun b ON b.profile = k.id
LEFT JOIN firsts f ON f.profile = k.id LEFT JOIN lasts l ON l.profile = k.id
LEFT JOIN bought o ON o.profile = k.id LEFT JOIN spent s ON s.profile = k.id
WHERE p.bucket = $1::int AND p.id = k.id;

-- name: sessions_due
-- Find persons of a bucket whose session may have ended by $2.
-- index: session_open_check (bucket, check_at)
SELECT profile FROM session_open WHERE bucket = $1::int AND check_at <= $2::timestamptz ORDER BY check_at LIMIT $3::int;

-- name: look_later
-- Have sessions that go on looked at when they may have ended.
-- index: session_open_pkey
UPDATE session_open s SET check_at = k.check_at FROM unnest($2::bigint[], $3::timestamptz[]) AS k (profile, check_at)
WHERE s.bucket = $1::int AND s.profile = k.profile;

-- name: close_sessions
-- Have persons who run no session looked at no more.
-- index: session_open_pkey
DELETE FROM session_open WHERE bucket = $1::int AND profile = ANY($2::bigint[]);
