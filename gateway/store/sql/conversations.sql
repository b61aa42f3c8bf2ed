-- name: inbound_between
-- Read what handsets wrote on a lane behind an event, up to another, in their order.
-- index: event_pkey
SELECT id, at, subject, body::text AS body FROM event
WHERE lane = $1::int AND id > $2::bigint AND id <= $3::bigint AND kind = 'inbound.received' ORDER BY id;

-- name: obeyed_between
-- Name the messages of a lane that lifted a STOP or confirmed a consent, by events within a span.
-- index: event_pkey
SELECT DISTINCT (body ->> 'message')::bigint AS message FROM event
WHERE lane = $1::int AND id > $2::bigint AND id <= $3::bigint AND kind IN ('start.received', 'consent.confirmed');

-- name: newest_events
-- Find the number of the newest event of each lane.
-- index: none, a row a lane
SELECT lane, last_id FROM event_number;

-- name: replied_upto
-- Read how far each lane was read for conversations.
-- index: none, a row a lane
SELECT lane, event FROM replying_upto;

-- name: replying_begin
-- Say since when there are conversations.
-- index: none, one row
SELECT at FROM replying_begin;

-- name: last_event_before
-- Find the number of the last event of a lane before a moment; 0 if there is none.
-- index: event_pkey, of a lane that was never read, once
SELECT coalesce(max(id), 0) FROM event WHERE lane = $1::int AND at < $2::timestamptz;

-- name: note_replied
-- Note how far a lane was read.
-- index: replying_upto_pkey, as the arbiter
INSERT INTO replying_upto (lane, event) VALUES ($1::int, $2::bigint)
ON CONFLICT (lane) DO UPDATE SET event = excluded.event;

-- name: known_messages
-- Say which of some messages are in a conversation already.
-- index: conversation_message_pkey
SELECT number, key FROM conversation_message
WHERE bucket = $1::int AND number = ANY($2::bigint[]) AND key = ANY($3::text[]);

-- name: hold_conversations
-- Read the newest conversation of each of some numbers and inbox, and let nobody else change them.
-- index: conversation_number
SELECT c.* FROM conversation c
WHERE c.bucket = $1::int AND c.number = ANY($2::bigint[]) AND NOT EXISTS (
    SELECT FROM conversation n
    WHERE n.bucket = $1::int AND n.bucket = c.bucket AND n.number = c.number AND n.inbox = c.inbox AND n.id > c.id)
FOR UPDATE;

-- name: hold_conversation
-- Read one conversation, and let nobody else change it.
-- index: conversation_pkey
SELECT * FROM conversation WHERE bucket = $1::int AND id = $2::bigint FOR UPDATE;

-- name: write_conversations
-- Write conversations as they are now.
-- index: conversation_pkey, as the arbiter
INSERT INTO conversation (
    bucket, id, number, inbox, brand, sender, lane, state, opened_at, last_in_at, last_out_at, closed_at, snoozed_until,
    assigned_to, assigned_at, return_at, waits_since, answer_due, late_at, first_answer_at, away_at, misses, is_handed_over,
    has_person, campaign, language, before)
SELECT $1::int, c.* FROM unnest(
    $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::int[], $8::smallint[], $9::timestamptz[],
    $10::timestamptz[], $11::timestamptz[], $12::timestamptz[], $13::timestamptz[], $14::text[], $15::timestamptz[],
    $16::timestamptz[], $17::timestamptz[], $18::timestamptz[], $19::timestamptz[], $20::timestamptz[], $21::timestamptz[],
    $22::smallint[], $23::boolean[], $24::boolean[], $25::text[], $26::text[], $27::bigint[]) AS c
ON CONFLICT (bucket, id) DO UPDATE SET
    sender = excluded.sender, lane = excluded.lane, state = excluded.state, last_in_at = excluded.last_in_at,
    last_out_at = excluded.last_out_at, closed_at = excluded.closed_at, snoozed_until = excluded.snoozed_until,
    assigned_to = excluded.assigned_to, assigned_at = excluded.assigned_at, return_at = excluded.return_at,
    waits_since = excluded.waits_since, answer_due = excluded.answer_due, late_at = excluded.late_at,
    first_answer_at = excluded.first_answer_at, away_at = excluded.away_at, misses = excluded.misses,
    is_handed_over = excluded.is_handed_over, has_person = excluded.has_person, campaign = excluded.campaign,
    language = excluded.language;

-- name: add_conversation_messages
-- Write down what was said.
-- index: conversation_message_pkey, as the arbiter
INSERT INTO conversation_message (bucket, number, key, conversation, at, direction, text, by, campaign)
SELECT $1::int, c.* FROM unnest(
    $2::bigint[], $3::text[], $4::bigint[], $5::timestamptz[], $6::smallint[], $7::text[], $8::text[], $9::text[]) AS c
ON CONFLICT (bucket, number, key) DO NOTHING;

-- name: ask_questions
-- Let questions wait for their answers; one that waits already stays as it is.
-- index: open_question_pkey, as the arbiter
INSERT INTO open_question (bucket, number, enrolment, step, visit, inbox, asked_at, until, campaign, question)
SELECT $1::int, c.number, c.enrolment, c.step, c.visit, c.inbox, c.asked_at, c.until, c.campaign, c.question::jsonb
FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::int[], $6::text[], $7::timestamptz[], $8::timestamptz[], $9::text[],
    $10::text[]) AS c (number, enrolment, step, visit, inbox, asked_at, until, campaign, question)
ON CONFLICT (bucket, number, enrolment, step, visit) DO NOTHING;

-- name: hold_questions
-- Read the questions that wait for some numbers, the newest of each first, and let nobody else answer them.
-- index: open_question_pkey
SELECT number, enrolment, step, visit, inbox, asked_at, until, tried, campaign, question::text AS question FROM open_question
WHERE bucket = $1::int AND number = ANY($2::bigint[]) ORDER BY number, asked_at DESC, enrolment DESC, step, visit DESC FOR UPDATE;

-- name: has_question
-- Say whether a question was open for a number at a moment; one of who has left its workflow is open no more.
-- index: open_question_pkey; enrolment_pkey
SELECT EXISTS (
    SELECT FROM open_question q
    WHERE q.bucket = $1::int AND q.number = $2::bigint AND q.asked_at <= $3::timestamptz AND q.until > $3::timestamptz
      AND NOT EXISTS (SELECT FROM enrolment e WHERE e.bucket = $1::int AND e.id = q.enrolment AND e.state > 0));

-- name: try_question
-- Count that a question was asked once more.
-- index: open_question_pkey
UPDATE open_question SET tried = tried + 1
WHERE bucket = $1::int AND number = $2::bigint AND enrolment = $3::bigint AND step = $4::text AND visit = $5::int;

-- name: close_question
-- Let a question wait no more; -> nothing when somebody else has closed it.
-- index: open_question_pkey
DELETE FROM open_question
WHERE bucket = $1::int AND number = $2::bigint AND enrolment = $3::bigint AND step = $4::text AND visit = $5::int
RETURNING enrolment;

-- name: questions_over
-- Name questions that nobody has answered in time, of all buckets, the oldest first.
-- index: open_question_until
SELECT bucket, number, enrolment, step, visit, campaign, inbox, until, question::text AS question FROM open_question
WHERE until <= $1::timestamptz ORDER BY until LIMIT $2::int;

-- name: owe
-- Write down what is still to be done.
-- index: conversation_owed_pkey
INSERT INTO conversation_owed (bucket, id, number, due_at, body)
SELECT $1::int, c.id, c.number, $5::timestamptz, c.body::jsonb
FROM unnest($2::bigint[], $3::bigint[], $4::text[]) AS c (id, number, body)
ON CONFLICT (bucket, id) DO NOTHING;

-- name: owed
-- Read what is to be done by now, of all buckets, the oldest first.
-- index: conversation_owed_due
SELECT bucket, id, number, tries, body::text AS body FROM conversation_owed
WHERE due_at <= $1::timestamptz ORDER BY due_at, id LIMIT $2::int;

-- name: is_owed
-- Say whether anything is to be done by now.
-- index: conversation_owed_due
SELECT EXISTS (SELECT FROM conversation_owed WHERE due_at <= $1::timestamptz);

-- name: done_owed
-- Take away what was done; -> what was still there.
-- index: conversation_owed_pkey
DELETE FROM conversation_owed WHERE bucket = $1::int AND id = ANY($2::bigint[]) RETURNING id;

-- name: put_off_owed
-- Try something once more, later.
-- index: conversation_owed_pkey
UPDATE conversation_owed SET due_at = $3::timestamptz, tries = tries + 1 WHERE bucket = $1::int AND id = ANY($2::bigint[]);

-- name: take_sent
-- Note that a lane takes something; -> nothing when it has it already.
-- index: conversation_sent_pkey, as the arbiter
INSERT INTO conversation_sent (lane, key, at) VALUES ($1::int, $2::bigint, $3::timestamptz)
ON CONFLICT (lane, key) DO NOTHING RETURNING key;

-- name: forget_sent
-- Forget what a lane has taken so long ago that nobody offers it again.
-- index: conversation_sent_at
DELETE FROM conversation_sent WHERE lane = $1::int AND at < $2::timestamptz;

-- name: languages_of_numbers
-- Read which language and country the eldest person of each number has.
-- index: profile_number
SELECT DISTINCT ON (number) number, id, language, country FROM profile
WHERE bucket = $1::int AND number = ANY($2::bigint[]) ORDER BY number, id;

-- name: loads_of_agents
-- Count the open conversations of agents, and say when each had their last.
-- index: conversation_open
SELECT inbox, assigned_to AS agent, count(*)::int AS open, max(assigned_at) AS last_at FROM conversation
WHERE state = 0 AND assigned_to <> '' GROUP BY inbox, assigned_to;

-- name: conversations_to_look_at
-- Name open conversations of which something is due by now: an answer, a return, an end of their sleep, somebody to answer.
-- index: conversation_open
SELECT bucket, id FROM conversation
WHERE state < 2 AND (
    (state = 1 AND snoozed_until <= $1::timestamptz)
    OR (state = 0 AND waits_since IS NOT NULL AND (
        (answer_due <= $1::timestamptz AND late_at IS NULL) OR return_at <= $1::timestamptz
        OR (assigned_to = '' AND inbox = ANY($2::text[])))))
ORDER BY waits_since NULLS LAST, id LIMIT $3::int;

-- name: conversations_listed
-- List conversations of all numbers, those that wait the longest first, then those that changed last.
-- index: conversation_open where closed ones are not asked for
SELECT * FROM conversation
WHERE state = ANY($1::smallint[]) AND ($2::text = '' OR inbox = $2::text) AND ($3::text = '' OR assigned_to = $3::text)
  AND (NOT $4::boolean OR waits_since IS NOT NULL)
ORDER BY waits_since NULLS LAST, coalesce(last_in_at, opened_at) DESC, id LIMIT $5::int;

-- name: conversations_of_number
-- Read all conversations of a number, the newest first.
-- index: conversation_number
SELECT * FROM conversation WHERE bucket = $1::int AND number = $2::bigint ORDER BY id DESC;

-- name: conversation_place
-- Find in which bucket a conversation is.
-- index: conversation_pkey
SELECT bucket, number FROM conversation WHERE bucket = ANY($2::int[]) AND id = $1::bigint;

-- name: conversation_said
-- Read what was said in a conversation, in its order.
-- index: conversation_message_at
SELECT key, at, direction, text, by, campaign FROM conversation_message
WHERE bucket = $1::int AND conversation = $2::bigint ORDER BY at, key;

-- name: campaigns_sent_to
-- Read which messages of campaigns a number was sent since a moment, in their order.
-- index: profile_number; person_event_profile
SELECT v.occurred_at AS at, v.event_id, v.properties ->> 'campaign' AS campaign, (v.properties ->> 'run')::bigint AS run
FROM profile p JOIN person_event v ON v.bucket = p.bucket AND v.profile = p.id
WHERE p.bucket = $1::int AND v.bucket = $1::int AND p.number = $2::bigint AND v.name = 'submitted'
  AND v.occurred_at >= $3::timestamptz ORDER BY v.occurred_at DESC LIMIT $4::int;

-- name: text_of_position
-- Read what a position of a chunk says: its run's template and its own values.
-- index: chunk_pkey; chunk_payload_pkey; run_pkey
SELECT n.template, n.fields, n.name, k.class, p.params[$3::int + 1 : $3::int + 1] AS params
FROM chunk k JOIN run n ON n.id = k.run JOIN chunk_payload p ON p.lane = k.lane AND p.chunk_id = k.id
WHERE k.lane = $1::int AND p.lane = $1::int AND k.id = $2::bigint;

-- name: persons_talk
-- Say of some buckets which numbers have a person of ours who talks with them, or did until lately ($2): closed_at, NULL: it goes on.
-- index: conversation_person
SELECT c.number, c.inbox, CASE WHEN bool_or(c.state < 2) THEN NULL ELSE max(c.closed_at) END AS closed_at
FROM conversation c
WHERE c.bucket = ANY($1::int[]) AND c.has_person AND (c.closed_at IS NULL OR c.closed_at > $2::timestamptz)
GROUP BY c.number, c.inbox;

-- name: with_persons
-- Say which numbers have a person who speaks now with ours, and since when that is over (NULL: it goes on).
-- index: conversation_number
SELECT c.number, c.inbox, CASE WHEN bool_or(c.state < 2) THEN NULL ELSE max(c.closed_at) END AS closed_at
FROM unnest($1::text::int[], $2::text::bigint[]) AS k (bucket, number)
JOIN conversation c ON c.bucket = k.bucket AND c.number = k.number
WHERE c.has_person GROUP BY c.number, c.inbox;

-- name: keyword_triggers
-- Read the words of all campaigns.
-- index: none, it is small
SELECT word, inbox, campaign FROM keyword_trigger;

-- name: drop_keywords
-- Take away the words of a campaign.
-- index: none, it is small
DELETE FROM keyword_trigger WHERE campaign = $1::text;

-- name: add_keywords
-- Give words to a campaign.
-- index: keyword_trigger_pkey, as the arbiter
INSERT INTO keyword_trigger (word, inbox, campaign) SELECT c.word, c.inbox, $3::text
FROM unnest($1::text[], $2::text[]) AS c (word, inbox)
ON CONFLICT (word, inbox, campaign) DO NOTHING;

-- name: mask_message
-- Write a message of a handset anew, without what may not be kept.
-- index: inbound_message_pkey
UPDATE inbound_message SET text = $3::text WHERE lane = $1::int AND id = $2::bigint RETURNING pdus;

-- name: mask_pdus
-- Empty PDUs that say what may not be kept.
-- index: inbound_pkey
UPDATE inbound SET octets = '', pdu = '' WHERE lane = $1::int AND id = ANY($2::bigint[]);

-- name: mask_event
-- Write the text of an event anew, without what may not be kept.
-- index: event_pkey
UPDATE event SET body = jsonb_set(body, '{text}', to_jsonb($3::text)) WHERE lane = $1::int AND id = $2::bigint;

-- name: erase_conversations
-- Take away the conversations of numbers.
-- index: conversation_number
DELETE FROM conversation WHERE bucket = $1::int AND number = ANY($2::bigint[]);

-- name: erase_conversation_messages
-- Take away what was said with numbers.
-- index: conversation_message_pkey
DELETE FROM conversation_message WHERE bucket = $1::int AND number = ANY($2::bigint[]);

-- name: erase_questions
-- Take away the questions that wait for numbers.
-- index: open_question_pkey
DELETE FROM open_question WHERE bucket = $1::int AND number = ANY($2::bigint[]);

-- name: erase_owed
-- Take away what was to be said to numbers.
-- index: none, it is small: what is owed is done in a moment
DELETE FROM conversation_owed WHERE bucket = $1::int AND number = ANY($2::bigint[]);

-- name: ids_of_audiences
-- Find kept audiences that are watched, by name.
-- index: audience_name_key
SELECT id, name FROM audience WHERE name = ANY($1::text[]) AND is_watched;

-- name: memberships_of_numbers
-- Say which persons of some numbers are in which of some audiences.
-- index: profile_number; audience_member_pkey
SELECT DISTINCT p.number, m.audience FROM profile p
JOIN audience_member m ON m.bucket = p.bucket AND m.profile = p.id
WHERE p.bucket = $1::int AND m.bucket = $1::int AND p.number = ANY($2::bigint[]) AND m.audience = ANY($3::bigint[]) AND m.is_in;

-- name: campaigns_last_sent
-- Read which campaign the eldest person of each number was sent last; our own answers are none.
-- index: profile_number; person_event_profile
SELECT DISTINCT ON (p.number) p.number, s.campaign
FROM profile p CROSS JOIN LATERAL (
    SELECT v.properties ->> 'campaign' AS campaign FROM person_event v
    WHERE v.bucket = $1::int AND v.bucket = p.bucket AND v.profile = p.id AND v.name = 'submitted'
      AND v.properties ->> 'campaign' NOT LIKE 'conversation%' ORDER BY v.occurred_at DESC LIMIT 1) s
WHERE p.bucket = $1::int AND p.number = ANY($2::bigint[]) ORDER BY p.number, p.id;
