-- name: has_people
-- Say whether anybody with a number is known.
-- index: profile_number
SELECT EXISTS (SELECT FROM profile WHERE number IS NOT NULL);

-- name: fed_upto
-- Read how far a lane was read for what persons are told to have had.
-- index: person_feed_pkey
SELECT upto FROM person_feed WHERE lane = $1::int AND kind = $2::text;

-- name: note_fed
-- Note how far a lane was read.
-- index: person_feed_pkey, as the arbiter
INSERT INTO person_feed (lane, kind, upto) VALUES ($1::int, $2::text, $3::timestamptz)
ON CONFLICT (lane, kind) DO UPDATE SET upto = excluded.upto;

-- name: fed_outcomes
-- Read what came of messages of a lane from a moment on, the oldest first: accepted (0), rejected, or refused by us.
-- index: outcome_at (brin), of the partitions since then; chunk_pkey; chunk_payload_pkey
SELECT o.chunk_id, o.pos, o.at, o.status, k.run, n.name AS campaign, p.msisdn[o.pos + 1] AS number,
       coalesce(n.fields[cardinality(n.fields)] = '#enrolment', false) AS is_enrolled
FROM outcome o JOIN chunk k ON k.lane = o.lane AND k.id = o.chunk_id JOIN run n ON n.id = k.run
JOIN chunk_payload p ON p.lane = o.lane AND p.chunk_id = o.chunk_id
WHERE o.lane = $1::int AND k.lane = $1::int AND p.lane = $1::int AND o.at >= $2::timestamptz AND o.at < $3::timestamptz
  AND o.segment <= 1 AND o.status <> -1 AND NOT n.is_test
ORDER BY o.at, o.chunk_id, o.pos LIMIT $4::int;

-- name: fed_receipts
-- Read the ends that receipts tell of messages of a lane from a moment on, the oldest first.
-- index: receipt_at (brin), of the partitions since then; chunk_pkey; chunk_payload_pkey
SELECT r.chunk_id, r.pos, r.at, r.state AS status, k.run, n.name AS campaign, p.msisdn[r.pos + 1] AS number,
       coalesce(n.fields[cardinality(n.fields)] = '#enrolment', false) AS is_enrolled
FROM receipt r JOIN chunk k ON k.lane = r.lane AND k.id = r.chunk_id JOIN run n ON n.id = k.run
JOIN chunk_payload p ON p.lane = r.lane AND p.chunk_id = r.chunk_id
WHERE r.lane = $1::int AND k.lane = $1::int AND p.lane = $1::int AND r.at >= $2::timestamptz AND r.at < $3::timestamptz
  AND r.segment <= 1 AND r.state IN (2, 3, 4, 5, 8, 9) AND NOT n.is_test
ORDER BY r.at, r.chunk_id, r.pos LIMIT $4::int;

-- name: fed_enrolments
-- Read of messages of campaigns, chunks $2 and places $3, which enrolment and visit each is of, and which variant where there
-- is an experiment: columns of their chunk, each unpacked once.
-- index: chunk_payload_pkey
SELECT p.chunk_id, (t.place - 1)::int AS pos, t.key,
       CASE WHEN n.fields[cardinality(n.fields) - 1] = '#variant' THEN t.variant END AS variant
FROM chunk_payload p JOIN run n ON n.id = p.run
CROSS JOIN LATERAL unnest(p.params[:][cardinality(n.fields):cardinality(n.fields)],
                          p.params[:][cardinality(n.fields) - 1:cardinality(n.fields) - 1])
    WITH ORDINALITY AS t (key, variant, place)
WHERE p.lane = $1::int AND p.chunk_id = ANY($2::bigint[])
  AND (p.chunk_id, t.place - 1) IN (SELECT k.chunk_id, k.pos FROM unnest($2::bigint[], $3::int[]) AS k (chunk_id, pos));

-- name: fed_replies
-- Read what handsets wrote on a lane from a moment on, the oldest first.
-- index: inbound_message_at
SELECT id, at, source, text FROM inbound_message
WHERE lane = $1::int AND at >= $2::timestamptz AND at < $3::timestamptz ORDER BY at, id LIMIT $4::int;

-- name: fed_stops
-- Read entries of the feed of STOPs behind a number.
-- index: stop_feed_pkey
SELECT seq, number, at, is_stop, scope, source, note FROM stop_feed WHERE seq > $1::bigint ORDER BY seq LIMIT $2::int;

-- name: last_sent
-- Read of numbers, each with a moment, which campaign its eldest person had been sent last by then.
-- index: profile_number; person_event_profile
SELECT k.place::int AS place, s.properties ->> 'campaign' AS campaign
FROM unnest($1::text::int[], $2::text::bigint[], $3::timestamptz[]) WITH ORDINALITY AS k (bucket, number, at, place)
CROSS JOIN LATERAL (
    SELECT p.id FROM profile p WHERE p.bucket = k.bucket AND p.number = k.number ORDER BY p.id LIMIT 1) p
CROSS JOIN LATERAL (
    SELECT v.properties FROM person_event v
    WHERE v.bucket = k.bucket AND v.profile = p.id AND v.name = 'submitted' AND v.occurred_at <= k.at
    ORDER BY v.occurred_at DESC LIMIT 1) s;

-- name: owe_of_persons
-- Write down what is still to be told of persons, once by its name.
-- index: person_owed_pkey, as the arbiter
INSERT INTO person_owed (bucket, number, at, name, told, properties)
SELECT k.bucket, k.number, k.at, k.name, k.told, k.properties::jsonb
FROM unnest($1::int[], $2::bigint[], $3::timestamptz[], $4::text[], $5::text[], $6::text[])
     AS k (bucket, number, at, name, told, properties)
ON CONFLICT (bucket, told) DO NOTHING;

-- name: owed_of_persons
-- Read what is still to be told of persons, the oldest first.
-- index: none: few rows, each for some seconds
SELECT bucket, number, at, name, told, properties::text AS properties FROM person_owed
WHERE bucket BETWEEN $1::int AND $2::int ORDER BY at, told LIMIT $3::int;

-- name: paid_of_persons
-- Take away what was told of persons.
-- index: person_owed_pkey
DELETE FROM person_owed o USING unnest($1::int[], $2::text[]) AS k (bucket, told)
WHERE o.bucket = k.bucket AND o.told = k.told;

-- name: erase_owed_of_persons
-- Take away what was to be told of numbers.
-- index: person_owed_pkey, by its bucket
DELETE FROM person_owed WHERE bucket = $1::int AND number = ANY($2::bigint[]);
