-- name: look_by_index
-- Have the statements of a batch look every row up by its key: the planner takes a batch for a large part of a table that it
-- has seen small, and then reads the table as a whole for each batch.
-- index: none: no table
SELECT set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
       set_config('enable_seqscan', 'off', true);

-- name: see_events
-- Write down what is taken, and return what was not taken before (EV-1). Two who bring the same go one after the other.
-- index: event_seen_pkey, as the arbiter
INSERT INTO event_seen (bucket, fingerprint, body, at)
SELECT k.bucket, k.fingerprint, k.body, $4::timestamptz
FROM unnest($1::text::int[], $2::uuid[], $3::uuid[]) AS k (bucket, fingerprint, body)
ON CONFLICT (bucket, fingerprint) DO NOTHING
RETURNING fingerprint;

-- name: seen_otherwise
-- Count what was taken before and said something else then.
-- index: event_seen_pkey
SELECT count(*) FROM unnest($1::int[], $2::uuid[], $3::uuid[]) AS k (bucket, fingerprint, body)
JOIN event_seen s ON s.bucket = k.bucket AND s.fingerprint = k.fingerprint WHERE s.body <> k.body;

-- name: hold_persons
-- Say that persons change, and let nobody else change them before our transaction ends: rows are taken in their order.
-- Citus locks no rows of many shards by SELECT; this it does. A row that is there already is locked and stays as it is:
-- it says since when somebody waits to be looked at, and no version of it is left behind by each batch. $4 quiet: it starts
-- nothing, unless something else has changed too.
-- index: person_changed_pkey, as the arbiter
INSERT INTO person_changed (bucket, profile, at, is_quiet)
SELECT k.bucket, k.profile, $3::timestamptz, $4::boolean
FROM unnest($1::text::int[], $2::text::bigint[]) AS k (bucket, profile)
ON CONFLICT (bucket, profile) DO UPDATE
SET at = least(person_changed.at, excluded.at), is_quiet = person_changed.is_quiet AND excluded.is_quiet
WHERE person_changed.at > excluded.at OR (person_changed.is_quiet AND NOT excluded.is_quiet);

-- name: wake_persons
-- Let what has changed of persons, who are held, start something.
-- index: person_changed_pkey
UPDATE person_changed c SET is_quiet = false
FROM unnest($1::text::int[], $2::text::bigint[]) AS k (bucket, profile)
WHERE c.bucket = k.bucket AND c.profile = k.profile AND c.is_quiet;

-- name: profiles_held
-- Read of persons what decides who is who, and in which session they are.
-- index: profile_pkey
SELECT p.bucket, p.id, p.number, p.external_id, p.email, p.last_seen_at, p.session_at
FROM unnest($1::text::int[], $2::text::bigint[]) AS k (bucket, id) JOIN profile p ON p.bucket = k.bucket AND p.id = k.id;

-- name: add_profiles
-- Make persons.
-- index: profile_pkey, profile_number are written
INSERT INTO profile (bucket, id, number, external_id, email, country, language, zone, attributes, attribute_at, created_at, updated_at)
SELECT k.bucket, k.id, k.number, k.external_id, k.email, k.country, k.language, k.zone, k.attributes, k.attribute_at,
       $11::timestamptz, $11::timestamptz
FROM unnest($1::int[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::jsonb[], $10::jsonb[])
     AS k (bucket, id, number, external_id, email, country, language, zone, attributes, attribute_at);

-- name: attributes_of
-- Read the attributes of persons, with the times that they are of.
-- index: profile_pkey
SELECT p.id, p.number, p.external_id, p.email, p.country, p.language, p.zone, p.attributes, p.attribute_at
FROM unnest($1::int[], $2::bigint[]) AS k (bucket, id) JOIN profile p ON p.bucket = k.bucket AND p.id = k.id;

-- name: write_attributes
-- Write the attributes of persons.
-- index: profile_pkey
UPDATE profile p
SET external_id = k.external_id, email = k.email, country = k.country, language = k.language, zone = k.zone,
    attributes = k.attributes, attribute_at = k.attribute_at, updated_at = $10::timestamptz
FROM unnest($1::int[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::jsonb[], $9::jsonb[])
     AS k (bucket, id, external_id, email, country, language, zone, attributes, attribute_at)
WHERE p.bucket = k.bucket AND p.id = k.id;

-- name: go_on
-- Carry on persons whose session goes on, with no event before the last: it has lasted until $3, microseconds since 1970.
-- index: profile_pkey
UPDATE profile p
SET last_seen_at = k.at, session_at = k.at, updated_at = $4::timestamptz
FROM (SELECT u.bucket, u.id, timestamptz 'epoch' + u.us * interval '1 microsecond' AS at
      FROM unnest($1::text::int[], $2::text::bigint[], $3::text::bigint[]) AS u (bucket, id, us)) AS k
WHERE p.bucket = k.bucket AND p.id = k.id;

-- name: touch_profiles
-- Carry times and sessions of persons on (EV-9).
-- index: profile_pkey
UPDATE profile p
SET first_seen_at = least(p.first_seen_at, k.first_at), last_seen_at = greatest(p.last_seen_at, k.last_at),
    sessions = p.sessions + k.sessions, session_at = k.session_at, updated_at = $7::timestamptz
FROM unnest($1::int[], $2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::int[], $6::timestamptz[])
     AS k (bucket, id, first_at, last_at, sessions, session_at)
WHERE p.bucket = k.bucket AND p.id = k.id;

-- name: mark_profiles
-- Carry clicks, replies and marks of campaigns on; of two marks of one time the one of the lower id is the first.
-- index: profile_pkey
UPDATE profile p
SET last_click_at = greatest(p.last_click_at, k.click_at), last_reply_at = greatest(p.last_reply_at, k.reply_at),
    utm_first = CASE WHEN k.utm_first IS NULL THEN p.utm_first
                     WHEN p.utm_first IS NULL
                       OR ((k.utm_first ->> 'at')::bigint, (k.utm_first ->> 'id')::bigint)
                        < ((p.utm_first ->> 'at')::bigint, (p.utm_first ->> 'id')::bigint)
                     THEN k.utm_first ELSE p.utm_first END,
    utm_last = CASE WHEN k.utm_last IS NULL THEN p.utm_last
                    WHEN p.utm_last IS NULL
                      OR ((k.utm_last ->> 'at')::bigint, (k.utm_last ->> 'id')::bigint)
                       > ((p.utm_last ->> 'at')::bigint, (p.utm_last ->> 'id')::bigint)
                    THEN k.utm_last ELSE p.utm_last END
FROM unnest($1::int[], $2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::jsonb[], $6::jsonb[])
     AS k (bucket, id, click_at, reply_at, utm_first, utm_last)
WHERE p.bucket = k.bucket AND p.id = k.id;

-- name: add_totals
-- Count events of persons by name; times are microseconds since 1970, in hours and what is over: multiplied by as many as
-- a year has they would be rounded, 300 years from 1970.
-- index: event_total_pkey, as the arbiter
INSERT INTO event_total AS t (bucket, profile, name, count, first_at, last_at)
SELECT k.bucket, k.profile, k.name, k.count,
       timestamptz 'epoch' + k.first_us / 3600000000 * interval '1 hour' + k.first_us % 3600000000 * interval '1 microsecond',
       timestamptz 'epoch' + k.last_us / 3600000000 * interval '1 hour' + k.last_us % 3600000000 * interval '1 microsecond'
FROM unnest($1::text::int[], $2::text::bigint[], $3::text::text[], $4::text::bigint[], $5::text::bigint[], $6::text::bigint[])
     AS k (bucket, profile, name, count, first_us, last_us)
ON CONFLICT (bucket, profile, name) DO UPDATE
SET count = t.count + excluded.count, first_at = least(t.first_at, excluded.first_at),
    last_at = greatest(t.last_at, excluded.last_at);

-- name: session_ends
-- Read when a session of persons last ended.
-- index: event_total_pkey
SELECT t.profile, t.last_at
FROM unnest($1::int[], $2::bigint[]) AS k (bucket, profile)
JOIN event_total t ON t.bucket = k.bucket AND t.profile = k.profile AND t.name = 'session_ended';

-- name: session_neighbours
-- Find for moments of persons what of them lies just before and just after, within the timeout of a session ($4): one look
-- into the index for each name of event that the person has. $6: events that are there only since this batch, and are those
-- that it asks for.
-- index: event_total_pkey; person_event_profile
SELECT k.profile, k.at, k.is_end, b.at AS before_at, b.is_end AS before_is_end, a.at AS after_at, a.is_end AS after_is_end
FROM unnest($1::int[], $2::bigint[], $3::timestamptz[], $5::boolean[]) AS k (bucket, profile, at, is_end)
LEFT JOIN LATERAL (
    SELECT e.occurred_at AS at, t.name = 'session_ended' AS is_end
    FROM event_total t CROSS JOIN LATERAL (
        SELECT v.occurred_at FROM person_event v
        WHERE v.bucket = k.bucket AND v.profile = k.profile AND v.name = t.name AND v.occurred_at >= k.at - $4::interval
          AND v.occurred_at <= k.at AND (v.occurred_at < k.at OR k.is_end OR v.name <> 'session_ended')
          AND (v.flags & 8 = 0 OR v.name = 'session_ended') AND NOT (v.id = ANY($6::bigint[]))
        ORDER BY v.occurred_at DESC LIMIT 1) e
    WHERE t.bucket = k.bucket AND t.profile = k.profile
    ORDER BY e.occurred_at DESC, 2 DESC LIMIT 1) b ON true
LEFT JOIN LATERAL (
    SELECT e.occurred_at AS at, t.name = 'session_ended' AS is_end
    FROM event_total t CROSS JOIN LATERAL (
        SELECT v.occurred_at FROM person_event v
        WHERE v.bucket = k.bucket AND v.profile = k.profile AND v.name = t.name AND v.occurred_at <= k.at + $4::interval
          AND v.occurred_at >= k.at AND (v.occurred_at > k.at OR (NOT k.is_end AND v.name = 'session_ended'))
          AND (v.flags & 8 = 0 OR v.name = 'session_ended') AND NOT (v.id = ANY($6::bigint[]))
        ORDER BY v.occurred_at LIMIT 1) e
    WHERE t.bucket = k.bucket AND t.profile = k.profile
    ORDER BY e.occurred_at, 2 LIMIT 1) a ON true;

-- name: open_sessions
-- Have sessions looked at when they may have ended.
-- index: session_open_pkey, as the arbiter
INSERT INTO session_open (bucket, profile, check_at)
SELECT k.bucket, k.profile, k.check_at FROM unnest($1::int[], $2::bigint[], $3::timestamptz[]) AS k (bucket, profile, check_at)
ON CONFLICT (bucket, profile) DO NOTHING;

-- name: orders_told
-- Read what was said of orders before.
-- index: person_order_pkey
SELECT o.profile, o.key, o.placed_at, o.stated_at, o.stated_id, o.amount, o.currency, o.refunded, o.is_cancelled, o.is_refunded
FROM unnest($1::int[], $2::bigint[], $3::text[]) AS k (bucket, profile, key)
JOIN person_order o ON o.bucket = k.bucket AND o.profile = k.profile AND o.key = k.key;

-- name: write_orders
-- Write what is now said of orders.
-- index: person_order_pkey, as the arbiter
INSERT INTO person_order (bucket, profile, key, placed_at, stated_at, stated_id, amount, currency, refunded, is_cancelled,
                          is_refunded, is_counted)
SELECT k.bucket, k.profile, k.key, k.placed_at, k.stated_at, k.stated_id, k.amount, k.currency, k.refunded, k.is_cancelled,
       k.is_refunded, k.is_counted
FROM unnest($1::int[], $2::bigint[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::bigint[], $7::bigint[], $8::text[],
            $9::jsonb[], $10::boolean[], $11::boolean[], $12::boolean[])
     AS k (bucket, profile, key, placed_at, stated_at, stated_id, amount, currency, refunded, is_cancelled, is_refunded, is_counted)
ON CONFLICT (bucket, profile, key) DO UPDATE
SET placed_at = excluded.placed_at, stated_at = excluded.stated_at, stated_id = excluded.stated_id, amount = excluded.amount,
    currency = excluded.currency, refunded = excluded.refunded, is_cancelled = excluded.is_cancelled,
    is_refunded = excluded.is_refunded, is_counted = excluded.is_counted;

-- name: spent_of
-- Read how much persons have spent.
-- index: profile_pkey
SELECT p.id, p.spent FROM unnest($1::int[], $2::bigint[]) AS k (bucket, id) JOIN profile p ON p.bucket = k.bucket AND p.id = k.id;

-- name: write_spent
-- Carry orders of persons on: how many more count, what was spent, and the first and the last of those that count.
-- index: profile_pkey; person_order_placed
UPDATE profile p
SET orders = p.orders + k.orders, spent = k.spent,
    first_order_at = (SELECT o.placed_at FROM person_order o
                      WHERE o.bucket = k.bucket AND o.profile = k.id AND o.is_counted ORDER BY o.placed_at LIMIT 1),
    last_order_at = (SELECT o.placed_at FROM person_order o
                     WHERE o.bucket = k.bucket AND o.profile = k.id AND o.is_counted ORDER BY o.placed_at DESC LIMIT 1)
FROM unnest($1::int[], $2::bigint[], $3::int[], $4::jsonb[]) AS k (bucket, id, orders, spent)
WHERE p.bucket = k.bucket AND p.id = k.id;

-- name: attribute_kinds
-- Read what attributes are called, and of which kind they are.
-- index: none: all of them
SELECT name, kind FROM attribute_kind;

-- name: property_kinds
-- Read what properties of events are called, and of which kind they are.
-- index: none: all of them
SELECT event, name, kind FROM event_property_kind;

-- name: add_attribute_kinds
-- Keep the kinds of attributes as they are first seen.
-- index: attribute_kind_pkey, as the arbiter
INSERT INTO attribute_kind (name, kind, seen_at)
SELECT k.name, k.kind, $3::timestamptz FROM unnest($1::text[], $2::text[]) AS k (name, kind)
ON CONFLICT (name) DO NOTHING;

-- name: add_property_kinds
-- Keep the kinds of properties as they are first seen.
-- index: event_property_kind_pkey, as the arbiter
INSERT INTO event_property_kind (event, name, kind, seen_at)
SELECT k.event, k.name, k.kind, $4::timestamptz FROM unnest($1::text[], $2::text[], $3::text[]) AS k (event, name, kind)
ON CONFLICT (event, name) DO NOTHING;

-- name: event_file_upto
-- Read how far a file is taken in as of a source.
-- index: event_file_pkey
SELECT lines, octets FROM event_file WHERE sha256 = $1::bytea AND source = $2::text;

-- name: event_file_went
-- Write down how far a file is taken in.
-- index: event_file_pkey, as the arbiter
INSERT INTO event_file (sha256, source, lines, octets, at)
VALUES ($1::bytea, $2::text, $3::bigint, $4::bigint, $5::timestamptz)
ON CONFLICT (sha256, source) DO UPDATE SET lines = excluded.lines, octets = excluded.octets, at = excluded.at;
