-- name: add_causes
-- Tell campaigns what has happened, in the transaction that tells it.
-- index: none: rows are added
INSERT INTO cause (bucket, flags, profile, id, occurred_at, received_at, kind, name, told, properties)
SELECT k.bucket, k.flags, k.profile, k.id, timestamptz 'epoch' + k.at_us / 3600000000 * interval '1 hour'
       + k.at_us % 3600000000 * interval '1 microsecond', $1::timestamptz, $2::text, k.name, k.told, k.properties::jsonb
FROM unnest($3::text::int[], $4::text::int[], $5::text::bigint[], $6::text::bigint[], $7::text::bigint[], $8::text[], $9::text[],
            $10::text[])
     AS k (bucket, flags, profile, id, at_us, name, told, properties);

-- name: tell_stepping
-- Wake who looks at causes, with the COMMIT.
-- index: none: no table
SELECT pg_notify($1::text, '');

-- name: add_causes_of_numbers
-- Tell campaigns that numbers came onto a list or left it: each person who has one of them.
-- index: profile_number
INSERT INTO cause (bucket, profile, id, occurred_at, received_at, kind, name, told)
SELECT p.bucket, p.id, k.id, $2::timestamptz, $2::timestamptz, $3::text, $4::text, $3::text || ':' || $4::text || ':' || k.id
FROM unnest($5::bigint[], $6::bigint[]) AS k (id, number)
JOIN profile p ON p.bucket = $1::int AND p.number = k.number
WHERE p.bucket = $1::int;

-- name: add_call_of_number
-- Tell a campaign that a program calls it for a number: of those who share it for whom we have known longest.
-- index: profile_number
INSERT INTO cause (bucket, profile, id, occurred_at, received_at, kind, name, told, properties)
SELECT p.bucket, p.id, $5::bigint, $3::timestamptz, $3::timestamptz, 'call', $4::text, $6::text, $7::text::jsonb
FROM profile p WHERE p.bucket = $1::int AND p.number = $2::bigint ORDER BY p.id LIMIT 1
RETURNING profile;

-- name: buckets_to_step
-- Say in which buckets there is something to decide, or somebody due, and how much; none of the campaigns $4, which are
-- paused.
-- index: cause_profile; enrolment_due
SELECT bucket, sum(n)::bigint AS n FROM (
    SELECT bucket, count(*) AS n FROM cause WHERE bucket BETWEEN $1::int AND $2::int GROUP BY bucket
    UNION ALL
    SELECT bucket, count(*) FROM enrolment
    WHERE bucket BETWEEN $1::int AND $2::int AND due_at <= $3::timestamptz AND campaign <> ALL($4::bigint[]) GROUP BY bucket
) found GROUP BY bucket ORDER BY bucket;

-- name: take_causes
-- Take what has happened to some persons of a bucket, in its order (EV-6), away from everybody else.
-- index: cause_profile
DELETE FROM cause
WHERE bucket = $1::int AND ctid = ANY(ARRAY(
    SELECT c.ctid FROM cause c WHERE c.bucket = $1::int ORDER BY c.profile, c.occurred_at, c.id LIMIT $2::int FOR UPDATE
))
RETURNING bucket, profile, id, flags, occurred_at, received_at, kind, name, told, properties::text AS properties;

-- name: take_causes_of_many
-- The same of several buckets, at most $2 of each; where buckets stand on one server (Citus locks no rows of many shards).
-- index: cause_profile
DELETE FROM cause
WHERE bucket = ANY($1::int[]) AND ctid = ANY(ARRAY(
    SELECT x.ctid FROM unnest($1::int[]) AS k (bucket) CROSS JOIN LATERAL (
        SELECT c.ctid FROM cause c WHERE c.bucket = k.bucket ORDER BY c.profile, c.occurred_at, c.id LIMIT $2::int FOR UPDATE
    ) x
))
RETURNING bucket, profile, id, flags, occurred_at, received_at, kind, name, told, properties::text AS properties;

-- name: enrolments_of
-- Read who of some persons is, or was, in some campaigns; who was refused was never in it.
-- index: enrolment_profile
SELECT e.bucket, e.id, e.campaign, e.profile, e.state, e.entered_at, e.key, e.cause
FROM unnest($1::text::int[], $2::text::bigint[]) AS k (bucket, profile)
JOIN enrolment e ON e.bucket = k.bucket AND e.profile = k.profile
WHERE e.campaign = ANY($3::bigint[]) AND e.state < 2;

-- name: numbers_of_profiles
-- Read the numbers of persons.
-- index: profile_pkey
SELECT p.id, p.number FROM unnest($1::text::int[], $2::text::bigint[]) AS k (bucket, id)
JOIN profile p ON p.bucket = k.bucket AND p.id = k.id;

-- name: add_enrolments
-- Enter persons, or note why they are not (state 2); -> those that are new: a cause enters somebody once (TR-3).
-- index: enrolment_cause, as the arbiter
INSERT INTO enrolment (bucket, version, state, reason, id, campaign, profile, endpoint, number, anchor_id, due_at, until_at, anchor_at,
                       entered_at, step_at, ended_at, cause, key, context)
SELECT k.bucket, k.version, k.state, k.reason, k.id, k.campaign, k.profile, coalesce(k.number, -k.profile), k.number, k.anchor_id,
       CASE WHEN k.state = 0 THEN $2::timestamptz END, CASE WHEN k.state = 0 THEN k.anchor_at END, k.anchor_at, $2::timestamptz,
       k.anchor_at, CASE WHEN k.state = 2 THEN $2::timestamptz END, k.cause, k.key, k.context::jsonb
FROM unnest($1::int[], $3::int[], $4::smallint[], $5::smallint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
            $10::bigint[], $11::timestamptz[], $12::text[], $13::text[], $14::text[])
     AS k (bucket, version, state, reason, id, campaign, profile, number, anchor_id, anchor_at, cause, key, context)
ON CONFLICT (bucket, endpoint, campaign, cause) DO NOTHING
RETURNING id;

-- name: end_enrolments
-- End some that are under way; -> those that were.
-- index: enrolment_pkey
UPDATE enrolment e
SET state = 1, reason = k.reason, due_at = NULL, ended_at = $2::timestamptz
FROM unnest($1::int[], $3::bigint[], $4::smallint[]) AS k (bucket, id, reason)
WHERE e.bucket = k.bucket AND e.id = k.id AND e.state = 0
RETURNING e.bucket, e.id, e.campaign, e.number;

-- name: wake_enrolments
-- Have those looked at to whom something has happened that their campaign waits for.
-- index: enrolment_profile
UPDATE enrolment e
SET due_at = least(e.due_at, $2::timestamptz)
FROM unnest($1::int[], $3::bigint[], $4::bigint[]) AS k (bucket, profile, campaign)
WHERE e.bucket = k.bucket AND e.profile = k.profile AND e.campaign = k.campaign AND e.state = 0;

-- name: due_enrolments
-- Take some who are due in a bucket, and hold them; none of the campaigns $4, which are paused.
-- index: enrolment_due
SELECT bucket, id, campaign, version, step, visits, profile, number, anchor_id, until_at, anchor_at, entered_at, step_at, cause,
       context::text AS context
FROM enrolment
WHERE bucket = $1::int AND due_at <= $2::timestamptz AND campaign <> ALL($4::bigint[])
ORDER BY due_at LIMIT $3::int
FOR UPDATE SKIP LOCKED;

-- name: due_enrolments_of_many
-- The same of several buckets, at most $3 of each; where buckets stand on one server (Citus locks no rows of many shards).
-- index: enrolment_due
SELECT x.* FROM unnest($1::int[]) AS k (bucket) CROSS JOIN LATERAL (
    SELECT e.bucket, e.id, e.campaign, e.version, e.step, e.visits, e.profile, e.number, e.anchor_id, e.until_at, e.anchor_at,
           e.entered_at, e.step_at, e.cause, e.context::text AS context
    FROM enrolment e
    WHERE e.bucket = k.bucket AND e.due_at <= $2::timestamptz AND e.campaign <> ALL($4::bigint[])
    ORDER BY e.due_at LIMIT $3::int
    FOR UPDATE SKIP LOCKED
) x;

-- name: move_enrolments
-- Write where some are now; who is at the end has no due_at.
-- index: enrolment_pkey
UPDATE enrolment e
SET step = k.step, visits = k.visits, state = k.state, reason = k.reason, due_at = k.due_at, until_at = k.until_at,
    step_at = k.step_at, ended_at = CASE WHEN k.state = 0 THEN NULL ELSE $2::timestamptz END
FROM unnest($1::text::int[], $3::text::bigint[], $4::text::smallint[], $5::text::int[], $6::text::smallint[], $7::text::smallint[],
            $8::timestamptz[], $9::timestamptz[], $10::timestamptz[])
     AS k (bucket, id, step, visits, state, reason, due_at, until_at, step_at)
WHERE e.bucket = k.bucket AND e.id = k.id;

-- name: write_contexts
-- Write what texts of some enrolments may name.
-- index: enrolment_pkey
UPDATE enrolment e SET context = e.context || k.context::jsonb
FROM unnest($2::bigint[], $3::text[]) AS k (id, context) WHERE e.bucket = $1::int AND e.id = k.id;

-- name: add_step_runs
-- Note what was done of steps, once for each visit (WF-2).
-- index: step_run_pkey
INSERT INTO step_run (bucket, step, outcome, visit, enrolment, profile, campaign, at, run, outgoing)
SELECT k.bucket, k.step, k.outcome, k.visit, k.enrolment, k.profile, k.campaign, $2::timestamptz, nullif(k.run, 0),
       nullif(k.outgoing, 0)
FROM unnest($1::text::int[], $3::text::smallint[], $4::text::smallint[], $5::text::int[], $6::text::bigint[], $7::text::bigint[],
            $8::text::bigint[], $9::text::bigint[], $10::text::bigint[])
     AS k (bucket, step, outcome, visit, enrolment, profile, campaign, run, outgoing);

-- name: virtual_sends
-- Read when a campaign ($3) would have written to persons, had they not been held out (AB-6).
-- index: step_run_profile
SELECT r.profile, r.at FROM unnest($1::text::int[], $2::text::bigint[]) AS k (bucket, profile)
JOIN step_run r ON r.bucket = k.bucket AND r.profile = k.profile WHERE r.campaign = $3::bigint AND r.outcome = -59
ORDER BY r.profile, r.at;

-- name: add_outgoing
-- Keep texts to be put into a lane, with the step that has made them.
-- index: outgoing_pkey
INSERT INTO outgoing (bucket, lane, country, id, run, made_at, source, fallback, numbers, params)
VALUES ($1::int, $2::int, $3::smallint, $4::bigint, $5::bigint, $6::timestamptz, $7::text, $8::int[], $9::bigint[], $10::text[]);

-- name: outgoing_rows
-- Read what waits to be put into lanes, the oldest first.
-- index: outgoing_pkey: few rows, each for a moment
SELECT bucket, lane, country, id, run, source, fallback, numbers, params FROM outgoing
WHERE bucket BETWEEN $1::int AND $2::int ORDER BY made_at LIMIT $3::int;

-- name: take_outgoing
-- Say that a lane takes some of what waits; -> those that it has not taken before.
-- index: outgoing_taken_pkey, as the arbiter
INSERT INTO outgoing_taken (lane, bucket, id, at)
SELECT $1::int, k.bucket, k.id, $2::timestamptz FROM unnest($3::int[], $4::bigint[]) AS k (bucket, id)
ON CONFLICT (lane, bucket, id) DO NOTHING
RETURNING bucket, id;

-- name: drop_outgoing
-- Take away what is in a lane.
-- index: outgoing_pkey
DELETE FROM outgoing o USING unnest($1::int[], $2::bigint[]) AS k (bucket, id) WHERE o.bucket = k.bucket AND o.id = k.id;

-- name: forget_taken
-- Forget what a lane has taken, since it waits nowhere any more.
-- index: outgoing_taken_pkey
DELETE FROM outgoing_taken t USING unnest($2::int[], $3::bigint[]) AS k (bucket, id)
WHERE t.lane = $1::int AND t.bucket = k.bucket AND t.id = k.id;

-- name: old_taken
-- Find what a lane took long ago and that was not forgotten: somebody died between.
-- index: outgoing_taken_pkey: few rows
SELECT bucket, id FROM outgoing_taken WHERE lane = $1::int AND at < $2::timestamptz LIMIT 1000;

-- name: outgoing_among
-- Say which of some texts of a bucket still wait.
-- index: outgoing_pkey
SELECT id FROM outgoing WHERE bucket = $1::int AND id = ANY($2::bigint[]);

-- name: enrolments_at_gate
-- Say of enrolments whose texts are about to leave how they ended, 0: they have not, or came to their end; and when the text of
-- that visit was made.
-- index: enrolment_pkey; step_run_pkey
SELECT e.id, e.reason, e.number, r.at AS made_at FROM unnest($1::int[], $2::bigint[], $3::int[]) AS k (bucket, id, visit)
JOIN enrolment e ON e.bucket = k.bucket AND e.id = k.id
LEFT JOIN step_run r ON r.bucket = k.bucket AND r.enrolment = k.id AND r.visit = k.visit;

-- name: end_campaign_enrolments
-- End some of those who are under way in a campaign, of a bucket; -> who they are.
-- index: enrolment_due
UPDATE enrolment SET state = 1, reason = $3::smallint, due_at = NULL, ended_at = $4::timestamptz
WHERE bucket = $1::int AND id = ANY(ARRAY(
    SELECT id FROM enrolment WHERE bucket = $1::int AND campaign = $2::bigint AND state = 0 LIMIT $5::int FOR UPDATE))
RETURNING bucket, id, campaign, number;

-- name: turn_enrolments
-- Have some people of a step of another version go on in version $4, at step $5; $6: what they wait for is reckoned anew,
-- $7: they begin as if they entered now. -> how many.
-- index: enrolment_due
UPDATE enrolment
SET version = $4::int, step = $5::smallint, visits = visits + CASE WHEN $7::boolean AND visits > 0 THEN 1 ELSE 0 END,
    until_at = CASE WHEN $6::boolean OR $7::boolean THEN NULL ELSE until_at END,
    due_at = CASE WHEN $6::boolean OR $7::boolean THEN $8::timestamptz ELSE due_at END,
    step_at = CASE WHEN $7::boolean THEN $8::timestamptz ELSE step_at END
WHERE bucket = $1::int AND id = ANY(ARRAY(
    SELECT id FROM enrolment
    WHERE bucket = $1::int AND campaign = $2::bigint AND version = $3::int AND step = $9::smallint AND state = 0
    LIMIT $10::int FOR UPDATE))
RETURNING id;

-- name: end_step_enrolments
-- End some of those who are at a step of a version, of a bucket; -> who they are.
-- index: enrolment_due
UPDATE enrolment SET state = 1, reason = $5::smallint, due_at = NULL, ended_at = $6::timestamptz
WHERE bucket = $1::int AND id = ANY(ARRAY(
    SELECT id FROM enrolment
    WHERE bucket = $1::int AND campaign = $2::bigint AND version = $3::int AND step = $4::smallint AND state = 0
    LIMIT $7::int FOR UPDATE))
RETURNING bucket, id, campaign, number;

-- name: enrolment_counts
-- Count who is and was in a campaign, by version, step and how it ended, and say when the first of them is due.
-- index: none: a campaign as a whole; asked by a person
SELECT version, step, state, reason, count(*)::bigint AS people, min(due_at) AS next_at FROM enrolment
WHERE campaign = $1::bigint AND bucket BETWEEN 0 AND 255 GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4;

-- name: persons_of_texts
-- Read of some persons what texts and waits may name.
-- index: profile_pkey; endpoint_pkey
SELECT p.id, p.country, p.language, coalesce(p.zone, e.zone) AS zone, p.external_id, p.email, p.attributes::text AS attributes
FROM unnest($1::text::int[], $2::text::bigint[]) AS k (bucket, id)
JOIN profile p ON p.bucket = k.bucket AND p.id = k.id LEFT JOIN endpoint e ON e.bucket = p.bucket AND e.number = p.number;

-- name: any_under_way
-- Say whether anybody is under way in a campaign.
-- index: enrolment_due, of which all are looked through where there is nobody
SELECT EXISTS (
    SELECT FROM enrolment WHERE bucket BETWEEN 0 AND 255 AND campaign = $1::bigint AND state = 0 AND due_at IS NOT NULL);

-- name: due_by_campaign
-- Count who is due by now, and since when, by campaign.
-- index: enrolment_due
SELECT campaign, count(*)::bigint AS waiting, min(due_at) AS since FROM enrolment
WHERE bucket BETWEEN 0 AND 255 AND due_at <= $1::timestamptz GROUP BY campaign;

-- name: causes_by_name
-- Count what nobody has decided about, and since when, by what it is.
-- index: cause_profile: few rows, each for a moment
SELECT kind, name, count(*)::bigint AS waiting, min(received_at) AS since FROM cause
WHERE bucket BETWEEN 0 AND 255 GROUP BY kind, name ORDER BY kind, name;

-- name: listening
-- Say which campaigns have to be told of something.
-- index: listened_pkey
SELECT campaign FROM listened WHERE kind = $1::text AND name = $2::text ORDER BY campaign;

-- name: outgoing_by_name
-- Count texts that wait for their lanes, and since when, by the name of their runs.
-- index: outgoing_pkey: few rows, each for a moment; run_pkey
SELECT r.name, sum(cardinality(o.numbers))::bigint AS waiting, min(o.made_at) AS since
FROM outgoing o JOIN run r ON r.id = o.run WHERE o.bucket BETWEEN 0 AND 255 GROUP BY r.name ORDER BY r.name;
