-- name: places_of_id
-- Find in which bucket a person is.
-- index: profile_pkey, a look into each bucket
SELECT p.bucket, p.id, p.number FROM unnest($2::int[]) AS b (bucket) JOIN profile p ON p.bucket = b.bucket AND p.id = $1::bigint;

-- name: dossier_profiles
-- Read persons as they stand.
-- index: profile_pkey
SELECT to_jsonb(p) AS told FROM profile p WHERE p.bucket = $1::int AND p.id = ANY($2::bigint[]) ORDER BY p.id;

-- name: dossier_events
-- Read what a person did, in the order in which it happened.
-- index: person_event_profile
SELECT to_jsonb(v) AS told FROM person_event v
WHERE v.bucket = $1::int AND v.profile = $2::bigint ORDER BY v.occurred_at, v.id;

-- name: dossier_totals
-- Read the counts of a person.
-- index: event_total_pkey
SELECT to_jsonb(t) AS told FROM event_total t WHERE t.bucket = $1::int AND t.profile = $2::bigint ORDER BY t.name;

-- name: dossier_orders
-- Read the orders of a person.
-- index: person_order_pkey
SELECT to_jsonb(o) AS told FROM person_order o WHERE o.bucket = $1::int AND o.profile = $2::bigint ORDER BY o.key;

-- name: dossier_rfm
-- Read the scores of a person.
-- index: rfm_pkey
SELECT to_jsonb(x) AS told FROM rfm x WHERE x.bucket = $1::int AND x.profile = $2::bigint;

-- name: dossier_memberships
-- Read in which audiences a person is, or was.
-- index: audience_member_pkey finds the bucket
SELECT to_jsonb(m) AS told FROM audience_member m WHERE m.bucket = $1::int AND m.profile = $2::bigint ORDER BY m.audience;

-- name: dossier_endpoint
-- Read what is known of a number by itself.
-- index: endpoint_pkey
SELECT to_jsonb(e) AS told FROM endpoint e WHERE e.bucket = $1::int AND e.number = $2::bigint;

-- name: dossier_entries
-- Read in which lists a number is, and with which fields.
-- index: list_entry_pkey, a look for each list
SELECT jsonb_build_object('list', l.name, 'attributes', e.attributes) AS told
FROM list_entry e JOIN contact_list l ON l.id = e.list
WHERE e.bucket = $1::int AND e.number = $2::bigint AND e.list = ANY($3::bigint[]) ORDER BY l.name;

-- name: dossier_list_changes
-- Read how a number came into lists, and went out of them.
-- index: list_change_pkey, a look for each list
SELECT jsonb_build_object('list', l.name, 'is_in', c.is_in, 'at', c.at, 'source', c.source) AS told
FROM list_change c JOIN contact_list l ON l.id = c.list
WHERE c.bucket = $1::int AND c.number = $2::bigint AND c.list = ANY($3::bigint[]) ORDER BY c.at, c.id;

-- name: dossier_contacts
-- Read when a number passed the gate, or was to (kind 0 due, 1 reserved, 2 returned). $3 = its 8 octets.
-- index: contact_page_at (bucket, page, at)
SELECT jsonb_build_object('at', c.at, 'run', c.run, 'kind', c.kind, 'class', c.class) AS told
FROM contact_page c
WHERE c.bucket = $1::int AND c.page = $2::int AND EXISTS (
    SELECT FROM generate_series(0, length(c.numbers) / 8 - 1) AS i WHERE substring(c.numbers FROM i * 8 + 1 FOR 8) = $3::bytea)
ORDER BY c.at;

-- name: dossier_skipped
-- Read for which runs a number was considered and skipped, and why. $2 = its 8 octets.
-- index: run_skipped_pkey finds the bucket
SELECT jsonb_build_object('run', s.run, 'status', s.reason) AS told
FROM run_skipped s
WHERE s.bucket = $1::int AND EXISTS (
    SELECT FROM generate_series(0, length(s.numbers) / 8 - 1) AS i WHERE substring(s.numbers FROM i * 8 + 1 FOR 8) = $2::bytea)
ORDER BY s.run;

-- name: dossier_stops
-- Read every entry of the feed of STOPs of a number.
-- index: stop_feed_number (number, seq)
SELECT to_jsonb(f) AS told FROM stop_feed f WHERE f.number = $1::bigint ORDER BY f.seq;

-- name: dossier_inbound
-- Read what a handset has written. $2 = its number as the SMSC may write it, digits alone.
-- index: inbound_message_at finds the lane, which is read whole
SELECT jsonb_build_object('lane', m.lane, 'at', m.at, 'source', m.source, 'destination', m.destination, 'text', m.text) AS told
FROM inbound_message m
WHERE m.lane = $1::int AND regexp_replace(m.source, '[^0-9]', '', 'g') = ANY($2::text[]) ORDER BY m.at;

-- name: dossier_conversations
-- Read the conversations of a number.
-- index: conversation_number
SELECT to_jsonb(c) AS told FROM conversation c WHERE c.bucket = $1::int AND c.number = $2::bigint ORDER BY c.id;

-- name: dossier_said
-- Read what was said with a number, in its order.
-- index: conversation_message_pkey
SELECT to_jsonb(m) AS told FROM conversation_message m WHERE m.bucket = $1::int AND m.number = $2::bigint ORDER BY m.at, m.key;

-- name: dossier_questions
-- Read the questions that wait for a number.
-- index: open_question_pkey
SELECT to_jsonb(q) AS told FROM open_question q WHERE q.bucket = $1::int AND q.number = $2::bigint ORDER BY q.asked_at;
