-- name: set_erasure_key
-- Keep the digest of the key of the first erasure.
-- index: erasure_key_pkey, as the arbiter
INSERT INTO erasure_key (id, digest, at) VALUES (1, $1::bytea, $2::timestamptz) ON CONFLICT (id) DO NOTHING;

-- name: erased
-- Read who was erased, by pseudonym, those above one, in their order.
-- index: stop_feed_erased
SELECT DISTINCT number FROM stop_feed
WHERE source = 'erased' AND number > $1::bigint AND number >= 4611686018427387904 ORDER BY number LIMIT $2::int;

-- name: erasing
-- Name numbers whose erasure has begun before a moment and has not ended.
-- index: stop_feed_erased
SELECT DISTINCT number FROM stop_feed
WHERE source = 'erased' AND number < 4611686018427387904 AND at < $1::timestamptz ORDER BY number LIMIT $2::int;

-- name: hold_suppression_upto
-- Let nobody copy the feed before this transaction ends.
-- index: suppression_upto_pkey
SELECT seq FROM suppression_upto WHERE id = 1 FOR UPDATE;

-- name: erase_feed
-- Let the entries of numbers stand under what stands for them; why they were entered stays, what was noted goes.
-- index: stop_feed_number (number, seq)
UPDATE stop_feed f SET number = k.pseudonym, note = CASE WHEN f.source = 'erased' THEN f.note ELSE '' END
FROM unnest($1::bigint[], $2::bigint[]) AS k (number, pseudonym) WHERE f.number = k.number;

-- name: erase_suppression
-- Drop numbers from the copy of the feed; what stands for them comes by the feed.
-- index: suppression_pkey
DELETE FROM suppression WHERE number = ANY($1::bigint[]);

-- name: payload_page
-- Find the last of the next chunks with a payload behind one.
-- index: chunk_payload_pkey
SELECT max(p.chunk_id) FROM (
    SELECT chunk_id FROM chunk_payload WHERE lane = $1::int AND chunk_id > $2::bigint ORDER BY chunk_id LIMIT $3::int) p;

-- name: payload_places
-- Find where numbers stand in the payload of some chunks: behind $2, up to $3.
-- index: chunk_payload_pkey; their payload is read whole
SELECT p.chunk_id, p.run, (u.place - 1)::int AS pos, u.number
FROM chunk_payload p CROSS JOIN LATERAL unnest(p.msisdn) WITH ORDINALITY AS u (number, place)
WHERE p.lane = $1::int AND p.chunk_id > $2::bigint AND p.chunk_id <= $3::bigint AND u.number = ANY($4::bigint[])
ORDER BY p.chunk_id, u.place;

-- name: erase_payload
-- Put what stands for numbers ($4) in their ($3) places, and nothing in place of their field values.
-- index: chunk_payload_pkey
UPDATE chunk_payload p
SET msisdn = (
        SELECT array_agg(coalesce(k.pseudonym, u.number) ORDER BY u.place)
        FROM unnest(p.msisdn) WITH ORDINALITY AS u (number, place)
        LEFT JOIN unnest($3::bigint[], $4::bigint[]) AS k (number, pseudonym) ON k.number = u.number),
    params = CASE WHEN p.params IS NOT NULL THEN (
        SELECT array_agg(f.fields ORDER BY f.pos) FROM (
            SELECT (v.place - 1) / array_length(p.params, 2) AS pos,
                   array_agg(CASE WHEN p.msisdn[(v.place - 1) / array_length(p.params, 2) + 1] = ANY($3::bigint[]) THEN NULL
                                  ELSE v.value END ORDER BY v.place) AS fields
            FROM unnest(p.params) WITH ORDINALITY AS v (value, place) GROUP BY 1) f) END
WHERE p.lane = $1::int AND p.chunk_id = ANY($2::bigint[]);

-- name: erase_receipts
-- Drop number and text of the receipts of positions; what they said of the message stays. $4, $5 = the least and greatest chunk.
-- index: receipt_chunk
UPDATE receipt r SET number = NULL, raw = NULL FROM unnest($2::bigint[], $3::int[]) AS k (chunk_id, pos)
WHERE r.lane = $1::int AND r.chunk_id = k.chunk_id AND r.pos = k.pos AND r.chunk_id BETWEEN $4::bigint AND $5::bigint;

-- name: erase_waiting
-- Let receipts that wait for their message stand under what stands for the number, without their text.
-- index: receipt_waiting_at finds the lane
UPDATE receipt_waiting w
SET number = CASE WHEN w.number = k.number THEN k.pseudonym ELSE w.number END,
    other = CASE WHEN w.other = k.number THEN k.pseudonym ELSE w.other END, raw = NULL
FROM unnest($2::bigint[], $3::bigint[]) AS k (number, pseudonym)
WHERE w.lane = $1::int AND (w.number = k.number OR w.other = k.number);

-- name: numbers_of_receipts
-- Read the numbers of the receipts that came on a lane in a span of time, 8 octets each: with a message, without one, and waiting.
-- index: receipt_at (brin), of the partitions of that time; receipt_waiting_at; orphan_receipt_at
SELECT string_agg(int8send(n.number), ''::bytea) FROM (
    SELECT r.number FROM receipt r WHERE r.lane = $1::int AND r.at >= $2::timestamptz AND r.at < $3::timestamptz
    UNION ALL
    SELECT u.number FROM receipt_waiting w CROSS JOIN LATERAL unnest(ARRAY[w.number, w.other]) AS u (number)
    WHERE w.lane = $1::int AND w.at >= $2::timestamptz AND w.at < $3::timestamptz
    UNION ALL
    SELECT u.number FROM orphan_receipt o CROSS JOIN LATERAL unnest(ARRAY[o.number, o.other]) AS u (number)
    WHERE o.lane = $1::int AND o.at >= $2::timestamptz AND o.at < $3::timestamptz) n
WHERE n.number IS NOT NULL;

-- name: erase_late_receipts
-- Drop number and text of the receipts of some numbers that came in a span of time; what they said of the message stays.
-- index: receipt_at (brin), of the partitions of that time
UPDATE receipt SET number = NULL, raw = NULL
WHERE lane = $1::int AND at >= $2::timestamptz AND at < $3::timestamptz AND number = ANY($4::bigint[]);

-- name: sources_of_handsets
-- Read who wrote on a lane in a span of time, as the SMSC wrote them.
-- index: inbound_at; inbound_message_at
SELECT i.source FROM inbound i WHERE i.lane = $1::int AND i.at >= $2::timestamptz AND i.at < $3::timestamptz
UNION
SELECT m.source FROM inbound_message m WHERE m.lane = $1::int AND m.at >= $2::timestamptz AND m.at < $3::timestamptz;

-- name: erase_orphans
-- Drop receipts without a message that are of numbers.
-- index: orphan_receipt_at finds the lane
DELETE FROM orphan_receipt WHERE lane = $1::int AND (number = ANY($2::bigint[]) OR other = ANY($2::bigint[]));

-- name: erase_inbound
-- Drop what handsets sent, as it came. $2 = their numbers as the SMSC may write them, digits alone.
-- index: inbound_at finds the lane, which is read whole
DELETE FROM inbound WHERE lane = $1::int AND regexp_replace(source, '[^0-9]', '', 'g') = ANY($2::text[]);

-- name: erase_messages
-- Drop what handsets wrote.
-- index: inbound_message_at finds the lane, which is read whole
DELETE FROM inbound_message WHERE lane = $1::int AND regexp_replace(source, '[^0-9]', '', 'g') = ANY($2::text[]);

-- name: erase_parts
-- Drop parts of handsets that wait for others.
-- index: inbound_part_at finds the lane
DELETE FROM inbound_part WHERE lane = $1::int AND regexp_replace(source, '[^0-9]', '', 'g') = ANY($2::text[]);

-- name: erase_heard
-- Let events of handsets say neither who nor what; they are numbered without gaps, so the rows stay.
-- index: event_pkey finds the lane, which is read whole
UPDATE event
SET subject = '', body = body || CASE WHEN body ? 'text' THEN '{"text": ""}' ELSE '{}' END::jsonb
                              || CASE WHEN body ? 'number' THEN '{"number": 0}' ELSE '{}' END::jsonb
                              || CASE WHEN body ? 'address' THEN '{"address": ""}' ELSE '{}' END::jsonb
WHERE lane = $1::int AND regexp_replace(subject, '[^0-9]', '', 'g') = ANY($2::text[]);

-- name: persons_of_numbers
-- Name the persons of a bucket who have one of some numbers.
-- index: profile_number
SELECT id, number FROM profile WHERE bucket = $1::int AND number = ANY($2::bigint[]) ORDER BY id;

-- name: erase_person_event
-- Drop what persons did.
-- index: person_event_profile
DELETE FROM person_event WHERE bucket = $1::int AND profile = ANY($2::bigint[]);

-- name: erase_event_total
-- Drop the counts of persons.
-- index: event_total_pkey
DELETE FROM event_total WHERE bucket = $1::int AND profile = ANY($2::bigint[]);

-- name: erase_person_order
-- Drop the orders of persons.
-- index: person_order_pkey
DELETE FROM person_order WHERE bucket = $1::int AND profile = ANY($2::bigint[]);

-- name: erase_session_open
-- Have the sessions of persons looked at no more.
-- index: session_open_pkey
DELETE FROM session_open WHERE bucket = $1::int AND profile = ANY($2::bigint[]);

-- name: erase_person_changed
-- Have persons looked at no more.
-- index: person_changed_pkey
DELETE FROM person_changed WHERE bucket = $1::int AND profile = ANY($2::bigint[]);

-- name: erase_audience_member
-- Drop in which audiences persons are.
-- index: audience_member_pkey finds the bucket
DELETE FROM audience_member WHERE bucket = $1::int AND profile = ANY($2::bigint[]);

-- name: erase_audience_change
-- Drop in which audiences persons were.
-- index: audience_change_pkey finds the bucket
DELETE FROM audience_change WHERE bucket = $1::int AND profile = ANY($2::bigint[]);

-- name: erase_rfm
-- Drop the scores of persons.
-- index: rfm_pkey
DELETE FROM rfm WHERE bucket = $1::int AND profile = ANY($2::bigint[]);

-- name: erase_identities
-- Drop the names of persons.
-- index: identity_profile
DELETE FROM identity WHERE profile = ANY($1::bigint[]);

-- name: erase_profiles
-- Drop persons.
-- index: profile_pkey
DELETE FROM profile WHERE bucket = $1::int AND id = ANY($2::bigint[]);

-- name: erase_entries
-- Take numbers out of lists; -> the lists.
-- index: list_entry_pkey, a look for each list
DELETE FROM list_entry
WHERE bucket = $1::int AND list = ANY($3::bigint[]) AND number = ANY($2::bigint[]) RETURNING list;

-- name: all_lists
-- Name all lists.
-- index: none: contact_list has a row a list
SELECT id FROM contact_list ORDER BY id;

-- name: erase_list_changes
-- Drop how numbers came into lists and went out of them.
-- index: list_change_pkey, a look for each list
DELETE FROM list_change WHERE bucket = $1::int AND list = ANY($3::bigint[]) AND number = ANY($2::bigint[]);

-- name: erase_endpoints
-- Drop numbers.
-- index: endpoint_pkey
DELETE FROM endpoint WHERE bucket = $1::int AND number = ANY($2::bigint[]);

-- name: erase_strikes
-- Drop what counts against numbers.
-- index: strike_pkey
DELETE FROM strike WHERE bucket = $1::int AND number = ANY($2::bigint[]);

-- name: erase_contacts
-- Take numbers ($3, 8 octets each) out of the contacts of pages.
-- index: contact_page_at (bucket, page, at)
UPDATE contact_page c
SET numbers = coalesce((
    SELECT string_agg(substring(c.numbers FROM i * 8 + 1 FOR 8), ''::bytea ORDER BY i)
    FROM generate_series(0, length(c.numbers) / 8 - 1) AS i
    WHERE substring(c.numbers FROM i * 8 + 1 FOR 8) <> ALL($3::bytea[])), '')
WHERE c.bucket = $1::int AND c.page = ANY($2::int[]) AND EXISTS (
    SELECT FROM generate_series(0, length(c.numbers) / 8 - 1) AS i
    WHERE substring(c.numbers FROM i * 8 + 1 FOR 8) = ANY($3::bytea[]));

-- name: drop_empty_contacts
-- Drop contacts of pages with nobody left in them.
-- index: contact_page_at (bucket, page, at)
DELETE FROM contact_page WHERE bucket = $1::int AND page = ANY($2::int[]) AND numbers = ''::bytea;

-- name: erase_skipped
-- Put what stands for numbers ($3, of 8 octets each) in place of those ($2) who were considered for runs and skipped: the
-- reasons of a run still add up.
-- index: run_skipped_pkey finds the bucket
UPDATE run_skipped s
SET numbers = (
    SELECT string_agg(coalesce(k.pseudonym, n.octets), ''::bytea ORDER BY coalesce(k.pseudonym, n.octets))
    FROM (SELECT substring(s.numbers FROM i * 8 + 1 FOR 8) AS octets
          FROM generate_series(0, length(s.numbers) / 8 - 1) AS i) n
    LEFT JOIN unnest($2::bytea[], $3::bytea[]) AS k (number, pseudonym) ON k.number = n.octets)
WHERE s.bucket = $1::int AND EXISTS (
    SELECT FROM generate_series(0, length(s.numbers) / 8 - 1) AS i
    WHERE substring(s.numbers FROM i * 8 + 1 FOR 8) = ANY($2::bytea[]));

-- name: erase_consents
-- Drop the chains of numbers.
-- index: consent_pkey
DELETE FROM consent WHERE bucket = $1::int AND number = ANY($2::bigint[]);

-- name: erase_consent_heads
-- Drop the heads of chains.
-- index: consent_head_pkey
DELETE FROM consent_head WHERE bucket = $1::int AND number = ANY($2::bigint[]);

-- name: erase_consent_states
-- Drop how numbers stand; -> with which brands.
-- index: consent_state_pkey
DELETE FROM consent_state WHERE bucket = $1::int AND number = ANY($2::bigint[]) RETURNING number, brand;

-- name: erase_touch
-- Drop what reports reckon of persons: touch.
-- index: touch_pkey
DELETE FROM touch WHERE bucket = $1::int AND profile = ANY($2::bigint[]);

-- name: erase_attribution
-- Drop what reports reckon of persons: attribution.
-- index: attribution_pkey
DELETE FROM attribution WHERE bucket = $1::int AND profile = ANY($2::bigint[]);

-- name: erase_conversion
-- Drop what reports reckon of persons: conversion.
-- index: conversion_pkey
DELETE FROM conversion WHERE bucket = $1::int AND profile = ANY($2::bigint[]);

-- name: erase_report_due
-- Drop what reports reckon of persons: report_due.
-- index: report_due_pkey
DELETE FROM report_due WHERE bucket = $1::int AND profile = ANY($2::bigint[]);
