-- name: identities_of
-- Find whom identities name; at = which of them: two texts that the client knows need not come back.
-- index: identity_pkey
SELECT k.at, i.profile_bucket, i.profile
FROM unnest($1::text::int[], $2::text::text[], $3::text::text[], $4::text::int[]) AS k (bucket, kind, value, at)
JOIN identity i ON i.bucket = k.bucket AND i.kind = k.kind AND i.value = k.value;

-- name: profiles_of_numbers
-- Find who has numbers; of several the oldest stands first.
-- index: profile_number
SELECT p.bucket, p.id, p.number FROM unnest($1::text::int[], $2::text::bigint[]) AS k (bucket, number)
JOIN profile p ON p.bucket = k.bucket AND p.number = k.number ORDER BY p.id;

-- name: hold_numbers
-- Make endpoints of numbers, and let nobody else find out who has them before our transaction ends.
-- index: endpoint_pkey, as the arbiter
INSERT INTO endpoint (bucket, number, created_at, updated_at)
SELECT k.bucket, k.number, $3::timestamptz, $3::timestamptz FROM unnest($1::int[], $2::bigint[]) AS k (bucket, number)
ON CONFLICT (bucket, number) DO UPDATE SET updated_at = endpoint.updated_at;

-- name: add_identities
-- Let identities name persons, those that name nobody yet.
-- index: identity_pkey, as the arbiter
INSERT INTO identity (bucket, kind, value, profile_bucket, profile)
SELECT k.bucket, k.kind, k.value, k.profile_bucket, k.profile
FROM unnest($1::int[], $2::text[], $3::text[], $4::int[], $5::bigint[]) AS k (bucket, kind, value, profile_bucket, profile)
ON CONFLICT (bucket, kind, value) DO NOTHING;

-- name: point_identities
-- Let identities name others than they did: a device that another person uses now.
-- index: identity_pkey
UPDATE identity i SET profile_bucket = k.profile_bucket, profile = k.profile
FROM unnest($1::int[], $2::text[], $3::text[], $4::int[], $5::bigint[]) AS k (bucket, kind, value, profile_bucket, profile)
WHERE i.bucket = k.bucket AND i.kind = k.kind AND i.value = k.value;

-- name: named_profiles
-- Say which of some persons have an identity.
-- index: identity_profile
SELECT DISTINCT profile FROM identity WHERE profile = ANY($1::bigint[]);

-- name: identities_of_profile
-- List the identities of a person.
-- index: identity_profile
SELECT kind, value FROM identity WHERE profile = $1::bigint ORDER BY kind, value;

-- name: hand_identities
-- Let all that names one person name another, or where they stand now.
-- index: identity_profile
UPDATE identity SET profile_bucket = $1::int, profile = $2::bigint WHERE profile = $3::bigint;

-- name: move_profile
-- Put a person into another bucket under another number.
-- index: profile_pkey
INSERT INTO profile (bucket, id, number, external_id, email, attributes, attribute_at, country, language, zone, first_seen_at,
                     last_seen_at, session_at, sessions, first_order_at, last_order_at, orders, spent, last_click_at,
                     last_reply_at, utm_first, utm_last, created_at, updated_at)
SELECT $1::int, p.id, $4::bigint, p.external_id, p.email, p.attributes, p.attribute_at, p.country, p.language, p.zone,
       p.first_seen_at, p.last_seen_at, p.session_at, p.sessions, p.first_order_at, p.last_order_at, p.orders, p.spent,
       p.last_click_at, p.last_reply_at, p.utm_first, p.utm_last, p.created_at, p.updated_at
FROM profile p WHERE p.bucket = $2::int AND p.id = $3::bigint;

-- name: number_profile
-- Change the number of a person where the bucket stays.
-- index: profile_pkey
UPDATE profile SET number = $3::bigint WHERE bucket = $1::int AND id = $2::bigint;

-- name: move_person_events
-- Give what one person did to another, or to the same elsewhere.
-- index: person_event_profile
INSERT INTO person_event (bucket, flags, profile, id, occurred_at, received_at, source, event_id, name, properties)
SELECT $1::int, v.flags, $2::bigint, v.id, v.occurred_at, v.received_at, v.source, v.event_id, v.name, v.properties
FROM person_event v WHERE v.bucket = $3::int AND v.profile = $4::bigint;

-- name: move_totals
-- Add the counts of one person to another's.
-- index: event_total_pkey
INSERT INTO event_total AS t (bucket, profile, name, count, first_at, last_at)
SELECT $1::int, $2::bigint, o.name, o.count, o.first_at, o.last_at
FROM event_total o WHERE o.bucket = $3::int AND o.profile = $4::bigint
ON CONFLICT (bucket, profile, name) DO UPDATE
SET count = t.count + excluded.count, first_at = least(t.first_at, excluded.first_at),
    last_at = greatest(t.last_at, excluded.last_at);

-- name: keys_of_both
-- Find orders of which something was said of each of two persons: $1, $2 and $3, $4.
-- index: person_order_pkey
SELECT o.key FROM person_order o JOIN person_order x ON x.key = o.key
WHERE o.bucket = $1::int AND o.profile = $2::bigint AND x.bucket = $3::int AND x.profile = $4::bigint;

-- name: move_orders
-- Give the orders of one person to another who has none of that key.
-- index: person_order_pkey, as the arbiter
INSERT INTO person_order (bucket, profile, key, placed_at, stated_at, stated_id, amount, currency, refunded, is_cancelled,
                          is_refunded, is_counted)
SELECT $1::int, $2::bigint, o.key, o.placed_at, o.stated_at, o.stated_id, o.amount, o.currency, o.refunded, o.is_cancelled,
       o.is_refunded, o.is_counted
FROM person_order o WHERE o.bucket = $3::int AND o.profile = $4::bigint
ON CONFLICT (bucket, profile, key) DO NOTHING;

-- name: move_session
-- Let the open session of one person be looked at as another's.
-- index: session_open_pkey, as the arbiter
INSERT INTO session_open (bucket, profile, check_at)
SELECT $1::int, $2::bigint, s.check_at FROM session_open s WHERE s.bucket = $3::int AND s.profile = $4::bigint
ON CONFLICT (bucket, profile) DO NOTHING;

-- name: drop_profile
-- Drop a person's own row.
-- index: profile_pkey
DELETE FROM profile WHERE bucket = $1::int AND id = $2::bigint;

-- name: drop_person_events
-- Drop what a person did.
-- index: person_event_profile
DELETE FROM person_event WHERE bucket = $1::int AND profile = $2::bigint;

-- name: drop_totals
-- Drop the counts of a person.
-- index: event_total_pkey
DELETE FROM event_total WHERE bucket = $1::int AND profile = $2::bigint;

-- name: drop_orders
-- Drop the orders of a person.
-- index: person_order_pkey
DELETE FROM person_order WHERE bucket = $1::int AND profile = $2::bigint;

-- name: drop_session
-- Have the session of a person looked at no more.
-- index: session_open_pkey
DELETE FROM session_open WHERE bucket = $1::int AND profile = $2::bigint;

-- name: move_changed
-- Let what has changed of one person be looked at as another's, or as the same one's elsewhere.
-- index: person_changed_pkey, as the arbiter
INSERT INTO person_changed (bucket, profile, at, is_quiet)
SELECT $1::int, $2::bigint, c.at, c.is_quiet FROM person_changed c WHERE c.bucket = $3::int AND c.profile = $4::bigint
ON CONFLICT (bucket, profile) DO UPDATE
SET at = least(person_changed.at, excluded.at), is_quiet = person_changed.is_quiet AND excluded.is_quiet;

-- name: drop_changed
-- Have a person looked at no more.
-- index: person_changed_pkey
DELETE FROM person_changed WHERE bucket = $1::int AND profile = $2::bigint;

-- name: take_turn_of_names
-- Let nobody else make persons of names of some hashes before our transaction ends; in the order of the hashes.
-- index: none: no table
SELECT pg_advisory_xact_lock($1::int, k.turn) FROM unnest($2::int[]) AS k (turn);

-- name: drop_memberships
-- Drop what is known of a person's audiences.
-- index: audience_member_pkey finds the bucket
DELETE FROM audience_member WHERE bucket = $1::int AND profile = $2::bigint;

-- name: drop_rfm
-- Drop the scores of a person.
-- index: rfm_pkey
DELETE FROM rfm WHERE bucket = $1::int AND profile = $2::bigint;

-- name: move_memberships
-- Let a person stand in the audiences of another, or of the same elsewhere, where nothing is known of them yet.
-- index: audience_member_pkey, as the arbiter
INSERT INTO audience_member (bucket, seq, audience, profile, since, next_change_at, is_in)
SELECT $1::int, a.seq, a.audience, $2::bigint, a.since, a.next_change_at, a.is_in
FROM audience_member a WHERE a.bucket = $3::int AND a.profile = $4::bigint
ON CONFLICT (bucket, audience, profile) DO NOTHING;

-- name: move_rfm
-- Give a person the scores of another, or of the same elsewhere, where they have none.
-- index: rfm_pkey, as the arbiter
INSERT INTO rfm (bucket, version, profile, r, f, m, held, named)
SELECT $1::int, x.version, $2::bigint, x.r, x.f, x.m, x.held, x.named
FROM rfm x WHERE x.bucket = $3::int AND x.profile = $4::bigint
ON CONFLICT (bucket, profile) DO NOTHING;

-- name: number_enrolments
-- Let a person's campaigns write to another number, or to none.
-- index: enrolment_profile
UPDATE enrolment SET number = $3::bigint, endpoint = coalesce($3::bigint, -profile)
WHERE bucket = $1::int AND profile = $2::bigint AND state = 0;

-- name: move_causes
-- Let what one person's campaigns have not decided about yet be another's, or the same one's elsewhere.
-- index: cause_profile
INSERT INTO cause (bucket, flags, profile, id, occurred_at, received_at, kind, name, told, properties)
SELECT $1::int, c.flags, $2::bigint, c.id, c.occurred_at, c.received_at, c.kind, c.name, c.told, c.properties
FROM cause c WHERE c.bucket = $3::int AND c.profile = $4::bigint;

-- name: drop_causes
-- Drop what a person's campaigns have not decided about.
-- index: cause_profile
DELETE FROM cause WHERE bucket = $1::int AND profile = $2::bigint;

-- name: erase_cause
-- Drop what campaigns of erased persons have not decided about.
-- index: cause_profile
DELETE FROM cause WHERE bucket = $1::int AND profile = ANY($2::bigint[]);

-- name: move_enrolments_of
-- Let one person's campaigns go on with another, or with the same one elsewhere, by the number they have there; of two who
-- entered for one cause, one.
-- index: enrolment_profile; profile_pkey; enrolment_pkey and enrolment_cause, as arbiters
INSERT INTO enrolment (bucket, version, step, state, reason, visits, id, campaign, profile, endpoint, number, anchor_id, due_at,
                       until_at, anchor_at, entered_at, step_at, ended_at, cause, key, context)
SELECT $1::int, e.version, e.step, e.state, e.reason, e.visits, e.id, e.campaign, $2::bigint, coalesce(p.number, -$2::bigint),
       p.number, e.anchor_id, e.due_at, e.until_at, e.anchor_at, e.entered_at, e.step_at, e.ended_at, e.cause, e.key, e.context
FROM enrolment e JOIN profile p ON p.bucket = $1::int AND p.id = $2::bigint
WHERE e.bucket = $3::int AND e.profile = $4::bigint
ON CONFLICT DO NOTHING;

-- name: drop_enrolments
-- Drop the campaigns of a person.
-- index: enrolment_profile
DELETE FROM enrolment WHERE bucket = $1::int AND profile = $2::bigint;

-- name: erase_enrolment
-- Drop the campaigns of erased persons.
-- index: enrolment_profile
DELETE FROM enrolment WHERE bucket = $1::int AND profile = ANY($2::bigint[]);

-- name: move_step_runs
-- Let what campaigns did for one person be what they did for another, or for the same one elsewhere.
-- index: step_run_profile
INSERT INTO step_run (bucket, step, outcome, visit, enrolment, profile, campaign, at, run, outgoing)
SELECT $1::int, r.step, r.outcome, r.visit, r.enrolment, $2::bigint, r.campaign, r.at, r.run, r.outgoing
FROM step_run r WHERE r.bucket = $3::int AND r.profile = $4::bigint
ON CONFLICT (bucket, enrolment, visit) DO NOTHING;

-- name: drop_step_runs
-- Drop what campaigns did for a person.
-- index: step_run_profile
DELETE FROM step_run WHERE bucket = $1::int AND profile = $2::bigint;

-- name: erase_step_run
-- Drop what campaigns did for erased persons.
-- index: step_run_profile
DELETE FROM step_run WHERE bucket = $1::int AND profile = ANY($2::bigint[]);

-- name: rename_enrolments
-- Let one person's campaigns go on with another of the same bucket; of two who entered for one cause, one.
-- index: enrolment_profile; enrolment_cause
UPDATE enrolment e SET profile = $2::bigint, number = p.number, endpoint = coalesce(p.number, -$2::bigint)
FROM profile p
WHERE e.bucket = $1::int AND e.profile = $3::bigint AND p.bucket = $1::int AND p.id = $2::bigint AND NOT EXISTS (
    SELECT FROM enrolment x WHERE x.bucket = $1::int AND x.endpoint = coalesce(p.number, -$2::bigint)
      AND x.campaign = e.campaign AND x.cause = e.cause AND x.id <> e.id);

-- name: rename_step_runs
-- Let what campaigns did for one person be what they did for another of the same bucket.
-- index: step_run_profile
UPDATE step_run SET profile = $2::bigint WHERE bucket = $1::int AND profile = $3::bigint;

-- name: move_excepted
-- Let what exceptions did to texts for one person be that of another, or of the same one elsewhere.
-- index: excepted_profile; excepted_pkey, as the arbiter
INSERT INTO excepted (bucket, visit, lane, pos, state, cancel, enrolment, profile, run, chunk, happened_at, told_at, planned_at,
                      found_at, campaign, name)
SELECT $1::int, x.visit, x.lane, x.pos, x.state, x.cancel, x.enrolment, $2::bigint, x.run, x.chunk, x.happened_at, x.told_at,
       x.planned_at, x.found_at, x.campaign, x.name
FROM excepted x WHERE x.bucket = $3::int AND x.profile = $4::bigint
ON CONFLICT (bucket, enrolment, visit) DO NOTHING;

-- name: drop_excepted
-- Drop what exceptions did to texts for a person.
-- index: excepted_profile
DELETE FROM excepted WHERE bucket = $1::int AND profile = $2::bigint;

-- name: erase_excepted
-- Drop what exceptions did to texts for erased persons.
-- index: excepted_profile
DELETE FROM excepted WHERE bucket = $1::int AND profile = ANY($2::bigint[]);

-- name: rename_excepted
-- Let what exceptions did to texts for one person be that of another of the same bucket.
-- index: excepted_profile
UPDATE excepted SET profile = $2::bigint WHERE bucket = $1::int AND profile = $3::bigint;

-- name: move_report_due
-- Have what reports say of a person reckoned anew, since another has become the same one, or they moved.
-- index: report_due_pkey, as the arbiter
INSERT INTO report_due (bucket, profile) SELECT $1::int, $2::bigint WHERE $3::int IS NOT NULL AND $4::bigint IS NOT NULL
ON CONFLICT (bucket, profile) DO NOTHING;

-- name: drop_touch
-- Drop the messages of a person.
-- index: touch_pkey
DELETE FROM touch WHERE bucket = $1::int AND profile = $2::bigint;

-- name: drop_attribution
-- Drop the orders of a person, as they are owed to messages.
-- index: attribution_pkey
DELETE FROM attribution WHERE bucket = $1::int AND profile = $2::bigint;

-- name: drop_conversion
-- Drop the goals that a person has reached.
-- index: conversion_pkey
DELETE FROM conversion WHERE bucket = $1::int AND profile = $2::bigint;

-- name: drop_report_due
-- Drop the note that a person has to be reckoned anew.
-- index: report_due_pkey
DELETE FROM report_due WHERE bucket = $1::int AND profile = $2::bigint;
