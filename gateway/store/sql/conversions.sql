-- What is reckoned of persons for reports: touches, to whom orders are owed, who has reached a goal. As
-- campaign/attribution.py has it over lists; tests hold the two to each other.

-- name: persons_told
-- Name the persons of whom something was told since a moment, whenever it happened.
-- index: person_event_received (brin)
SELECT v.bucket, v.profile FROM person_event v WHERE v.received_at >= $1::timestamptz GROUP BY v.bucket, v.profile;

-- name: report_due
-- Name the persons of a bucket who have to be reckoned anew.
-- index: report_due_pkey
SELECT profile FROM report_due WHERE bucket = $1::int;

-- name: take_report_due
-- Take persons of a bucket out of those who have to be reckoned anew.
-- index: report_due_pkey
DELETE FROM report_due WHERE bucket = $1::int AND profile = ANY($2::bigint[]);

-- name: persons_turned
-- Name the persons of a bucket who entered or left some audiences since a moment.
-- index: audience_change_pkey
SELECT DISTINCT c.profile FROM audience_change c
WHERE c.bucket = $1::int AND c.audience = ANY($2::bigint[]) AND c.at >= $3::timestamptz;

-- name: audiences_named
-- Find audiences by their names.
-- index: audience_name_key
SELECT id, name FROM audience WHERE name = ANY($1::text[]);

-- name: is_counted_by_audience
-- Say whether a kept audience asks for events of a name.
-- index: none: they are few
SELECT EXISTS (SELECT FROM audience WHERE tree @? format('$.**.event ? (@ == %s)', to_jsonb($1::text))::jsonpath);

-- name: drop_touches
-- Drop the messages of persons.
-- index: touch_pkey
DELETE FROM touch WHERE bucket = $1::int AND profile = ANY($2::bigint[]);

-- name: drop_owed
-- Drop to whom the orders of persons are owed.
-- index: attribution_pkey
DELETE FROM attribution WHERE bucket = $1::int AND profile = ANY($2::bigint[]);

-- name: drop_reached
-- Drop which goals persons have reached.
-- index: conversion_pkey
DELETE FROM conversion WHERE bucket = $1::int AND profile = ANY($2::bigint[]);

-- name: reached
-- Read which goals persons have reached, and how often.
-- index: conversion_pkey; profile_pkey
SELECT c.profile, c.campaign, c.place, c.case_id, c.at, c.hits, c.gross, c.is_excluded, p.number
FROM conversion c JOIN profile p ON p.bucket = c.bucket AND p.id = c.profile
WHERE c.bucket = $1::int AND p.bucket = $1::int AND c.profile = ANY($2::bigint[]);

-- name: write_touches
-- Write the messages that were sent to persons, each with what came of it. What names a run is of its latest message before,
-- what names a campaign of the campaign's, all else of the latest message at all; a code that was issued before its message
-- is of the next. $3 = the zone of days, $4 = how long an opt-out is of a message; $5, $6 = runs with a link, runs that are
-- tests; $7 = persons of the house; $8, $9 = campaigns. Whoever was held out has a row of no lane in place of the message
-- (AB-6): it counts for their arm alone.
-- index: person_event_profile; enrolment_profile; step_run_profile; touch_pkey, which nothing is in the way of
WITH told AS MATERIALIZED (
    SELECT v.profile, v.name, v.id, v.occurred_at AS at, v.event_id, v.properties,
           v.properties ->> 'campaign' AS campaign,
           CASE WHEN v.properties ->> 'run' ~ '^[0-9]{1,18}$' THEN (v.properties ->> 'run')::bigint END AS run,
           v.flags & 8 <> 0 AND v.event_id ~ '^(submitted|delivered|failed|expired):[0-9]{1,9}:[0-9]{1,18}:[0-9]{1,9}$' AS is_sent
    FROM person_event v
    WHERE v.bucket = $1::int AND v.profile = ANY($2::bigint[])
      AND v.name IN ('submitted', 'delivered', 'failed', 'expired', 'clicked', 'page_opened', 'replied', 'opted_out',
                     'coupon_issued', 'workflow_entered')
), sent AS (
    SELECT s.*, row_number() OVER (PARTITION BY profile ORDER BY submitted_at, lane, chunk, pos) AS nth,
           delivered_at IS NOT NULL AND row_number() OVER (
               PARTITION BY profile, CASE WHEN enrolment <> 0 THEN enrolment ELSE run END, delivered_at IS NULL
               ORDER BY submitted_at, lane, chunk, pos) = 1 AS leads
    FROM (
        SELECT profile, split_part(event_id, ':', 2)::int AS lane, split_part(event_id, ':', 3)::bigint AS chunk,
               split_part(event_id, ':', 4)::int AS pos, coalesce(min(campaign), '') AS campaign, coalesce(min(run), 0) AS run,
               coalesce(min(at) FILTER (WHERE name = 'submitted'), min(at)) AS submitted_at,
               min(at) FILTER (WHERE name = 'delivered') AS delivered_at,
               min(at) FILTER (WHERE name IN ('failed', 'expired')) AS failed_at,
               coalesce(max(properties ->> 'variant'), '') AS variant,
               coalesce(max(CASE WHEN properties ->> 'enrolment' ~ '^[0-9]{1,19}$'
                                 THEN (properties ->> 'enrolment')::bigint END), 0) AS enrolment
        FROM told WHERE is_sent GROUP BY 1, 2, 3, 4 HAVING bool_or(name IN ('submitted', 'delivered'))) s
), acts AS (
    SELECT t.profile, t.id, t.name, t.at, t.campaign, t.run, t.properties FROM told t
    WHERE t.name IN ('clicked', 'page_opened', 'opted_out', 'coupon_issued', 'workflow_entered')
       OR (t.name = 'replied' AND coalesce(t.properties ->> 'wish', '') NOT IN ('stop', 'start', 'help'))
), line AS (
    SELECT profile, submitted_at AS at, 0 AS kind, NULL::bigint AS act, campaign, run, nth, NULL::timestamptz AS entered FROM sent
    UNION ALL
    SELECT profile, at, CASE WHEN name = 'workflow_entered' THEN -1 ELSE 1 END, id, campaign, run, NULL,
           CASE WHEN name = 'workflow_entered' THEN at END
    FROM acts
), placed AS (
    SELECT profile, act, nth,
           max(nth) OVER (PARTITION BY profile, run ORDER BY at, kind) AS of_run,
           max(nth) OVER (PARTITION BY profile, campaign ORDER BY at, kind) AS of_campaign,
           max(nth) OVER (PARTITION BY profile ORDER BY at, kind) AS of_all,
           min(nth) OVER (PARTITION BY profile, run ORDER BY at, kind ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS next_of_run,
           min(nth) OVER (PARTITION BY profile, campaign ORDER BY at, kind
                          ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS next_of_campaign,
           max(entered) OVER (PARTITION BY profile, campaign ORDER BY at, kind) AS entered_at
    FROM line
), of AS (
    SELECT a.profile, a.name, a.at, a.properties, a.id,
           CASE WHEN a.name = 'opted_out' THEN p.of_all
                WHEN a.name = 'coupon_issued' AND a.run IS NOT NULL THEN coalesce(p.of_run, p.next_of_run)
                WHEN a.name = 'coupon_issued' THEN coalesce(p.of_campaign, p.next_of_campaign)
                WHEN a.run IS NOT NULL THEN p.of_run
                WHEN a.campaign IS NOT NULL THEN p.of_campaign
                ELSE p.of_all END AS nth
    FROM acts a JOIN placed p ON p.profile = a.profile AND p.act = a.id WHERE a.name <> 'workflow_entered'
), came AS (
    SELECT profile, nth,
           array_agg(at ORDER BY at, id) FILTER (WHERE name = 'clicked' AND coalesce(properties ->> 'verdict', 'human') = 'human') AS clicks,
           count(*) FILTER (WHERE name = 'clicked' AND properties ->> 'verdict' = 'unsure') AS unsure,
           count(*) FILTER (WHERE name = 'clicked' AND properties ->> 'verdict' = 'bot') AS bots,
           min(at) FILTER (WHERE name = 'page_opened' AND coalesce(properties ->> 'verdict', 'human') = 'human') AS opened_at,
           array_agg(at ORDER BY at, id) FILTER (WHERE name = 'replied') AS replies,
           array_agg(upper(properties ->> 'code') ORDER BY at, id)
               FILTER (WHERE name = 'coupon_issued' AND properties ? 'code') AS codes,
           array_agg(CASE WHEN properties ->> 'expires_at' ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(Z|[+-][0-9]{2}:[0-9]{2})$'
                          THEN (properties ->> 'expires_at')::timestamptz END ORDER BY at, id)
               FILTER (WHERE name = 'coupon_issued' AND properties ? 'code') AS codes_until
    FROM of WHERE nth IS NOT NULL GROUP BY profile, nth
), ended AS (
    SELECT DISTINCT ON (o.profile, o.nth) o.profile, o.nth, o.at, coalesce(o.properties ->> 'source', '') AS by
    FROM of o JOIN sent s ON s.profile = o.profile AND s.nth = o.nth
    WHERE o.name = 'opted_out' AND o.at < s.submitted_at + $4::interval ORDER BY o.profile, o.nth, o.at, o.id
), entered AS MATERIALIZED (
    SELECT n.id, n.entered_at FROM enrolment n WHERE n.bucket = $1::int AND n.profile = ANY($2::bigint[])
), held_out AS (
    SELECT r.profile, r.enrolment, r.visit, r.at, c.name AS campaign
    FROM step_run r JOIN unnest($8::bigint[], $9::text[]) AS c (id, name) ON c.id = r.campaign
    WHERE r.bucket = $1::int AND r.profile = ANY($2::bigint[]) AND r.outcome = -59 AND r.profile <> ALL($7::bigint[])
)
INSERT INTO touch (bucket, profile, lane, chunk, pos, run, campaign, variant, enrolment, day, submitted_at, delivered_at,
                   failed_at, entered_at, opened_at, opted_out_at, opted_out_by, clicks, unsure, bots, replies, codes, codes_until,
                   has_link, leads, is_excluded)
SELECT $1::int, s.profile, s.lane, s.chunk, s.pos, s.run, s.campaign, s.variant, s.enrolment,
       (s.submitted_at AT TIME ZONE $3::text)::date, s.submitted_at, s.delivered_at, s.failed_at,
       coalesce(n.entered_at, p.entered_at), c.opened_at, e.at,
       coalesce(e.by, ''), coalesce(c.clicks, '{}'), coalesce(c.unsure, 0), coalesce(c.bots, 0), coalesce(c.replies, '{}'),
       coalesce(c.codes, '{}'), coalesce(c.codes_until, '{}'),
       s.run = ANY($5::bigint[]) OR c.clicks IS NOT NULL OR coalesce(c.unsure, 0) + coalesce(c.bots, 0) > 0, s.leads,
       s.run = ANY($6::bigint[]) OR s.profile = ANY($7::bigint[])
FROM sent s JOIN placed p ON p.profile = s.profile AND p.nth = s.nth AND p.act IS NULL
LEFT JOIN came c ON c.profile = s.profile AND c.nth = s.nth LEFT JOIN ended e ON e.profile = s.profile AND e.nth = s.nth
LEFT JOIN entered n ON n.id = s.enrolment
UNION ALL
SELECT $1::int, h.profile, 0, h.enrolment, h.visit, 0, h.campaign, 'control', h.enrolment, (h.at AT TIME ZONE $3::text)::date, h.at,
       NULL, NULL, n.entered_at, NULL, NULL, '', '{}', 0, 0, '{}', '{}', '{}', false, false, true
FROM held_out h LEFT JOIN entered n ON n.id = h.enrolment;

-- name: write_owed
-- Write to which message each order of persons is owed (GL-4): $3, $4, $5 = how long a click, a reply, a delivery counts;
-- $6 = the house's currency.
-- index: touch_pkey; person_order_pkey; person_event_profile; attribution_pkey, which nothing is in the way of
WITH touches AS MATERIALIZED (
    SELECT t.*, row_number() OVER (PARTITION BY profile ORDER BY submitted_at, lane, chunk, pos) AS nth
    FROM touch t WHERE t.bucket = $1::int AND t.profile = ANY($2::bigint[])
), orders AS MATERIALIZED (
    SELECT o.profile, o.key, o.placed_at, o.currency, o.amount AS gross,
           CASE WHEN o.is_counted THEN o.amount - coalesce((o.refunded ->> o.currency)::bigint, 0)
                - CASE WHEN o.currency = '' THEN 0 ELSE coalesce((o.refunded ->> '')::bigint, 0) END ELSE 0 END AS net
    FROM person_order o WHERE o.bucket = $1::int AND o.profile = ANY($2::bigint[]) AND o.placed_at IS NOT NULL
), used AS (
    SELECT v.profile,
           CASE WHEN v.name = 'coupon_redeemed' AND v.properties ? 'order' THEN v.properties ->> 'order'
                WHEN jsonb_typeof(v.properties -> 'order_id') IN ('string', 'number') AND v.properties ->> 'order_id' <> ''
                     AND (jsonb_typeof(v.properties -> 'order_id') = 'string' OR v.properties ->> 'order_id' ~ '^-?[0-9]+$')
                THEN left('order:' || (v.properties ->> 'order_id'), 200) ELSE 'event:' || v.event_id END AS key,
           v.properties
    FROM person_event v
    WHERE v.bucket = $1::int AND v.profile = ANY($2::bigint[]) AND v.name IN ('order_placed', 'coupon_redeemed')
      AND v.properties ?| ARRAY['coupon', 'coupon_code', 'discount_code', 'discount_codes', 'coupons', 'code']
), codes AS MATERIALIZED (
    SELECT u.profile, u.key, array_agg(DISTINCT upper(btrim(c.code))) AS codes
    FROM used u CROSS JOIN LATERAL (
        SELECT CASE jsonb_typeof(e.one) WHEN 'string' THEN e.one #>> '{}' WHEN 'object' THEN e.one ->> 'code' END AS code
        FROM unnest(ARRAY['coupon', 'coupon_code', 'discount_code', 'discount_codes', 'coupons', 'code']) AS n (name)
        CROSS JOIN LATERAL jsonb_array_elements(
            CASE jsonb_typeof(u.properties -> n.name) WHEN 'array' THEN u.properties -> n.name
                 ELSE jsonb_build_array(u.properties -> n.name) END) AS e (one)
        WHERE u.properties ? n.name) c
    WHERE c.code IS NOT NULL GROUP BY u.profile, u.key
), ways AS (
    SELECT o.profile, o.key, 1 AS rule, t.submitted_at AS at, t.nth, t.campaign
    FROM orders o JOIN codes k ON k.profile = o.profile AND k.key = o.key JOIN touches t ON t.profile = o.profile
    CROSS JOIN LATERAL unnest(t.codes, t.codes_until) AS c (code, until)
    WHERE t.submitted_at <= o.placed_at AND c.code = ANY(k.codes) AND (c.until IS NULL OR o.placed_at <= c.until)
    UNION ALL
    SELECT o.profile, o.key, 2, c.at, t.nth, t.campaign
    FROM (SELECT profile, nth, campaign, clicks FROM touches WHERE clicks <> '{}') t CROSS JOIN LATERAL unnest(t.clicks) AS c (at)
    JOIN orders o ON o.profile = t.profile AND c.at > o.placed_at - $3::interval AND c.at <= o.placed_at
    UNION ALL
    SELECT o.profile, o.key, 3, c.at, t.nth, t.campaign
    FROM (SELECT profile, nth, campaign, replies FROM touches WHERE replies <> '{}') t CROSS JOIN LATERAL unnest(t.replies) AS c (at)
    JOIN orders o ON o.profile = t.profile AND c.at > o.placed_at - $4::interval AND c.at <= o.placed_at
    UNION ALL
    SELECT o.profile, o.key, 4, t.delivered_at, t.nth, t.campaign
    FROM touches t JOIN orders o ON o.profile = t.profile
     AND t.delivered_at > o.placed_at - $5::interval AND t.delivered_at <= o.placed_at
), influenced AS (
    SELECT profile, key, array_agg(DISTINCT campaign ORDER BY campaign) AS campaigns FROM ways GROUP BY profile, key
), best AS (
    SELECT DISTINCT ON (profile, key) profile, key, rule, nth FROM ways ORDER BY profile, key, rule, at DESC, nth DESC
)
INSERT INTO attribution (bucket, profile, key, lane, chunk, pos, run, campaign, variant, day, placed_at, rule, gross, net, currency,
                         is_main, is_excluded, influenced)
SELECT $1::int, b.profile, b.key, t.lane, t.chunk, t.pos, t.run, t.campaign, t.variant, t.day, o.placed_at, b.rule, o.gross, o.net,
       o.currency, o.currency = $6::text, t.is_excluded, i.campaigns
FROM best b JOIN touches t ON t.profile = b.profile AND t.nth = b.nth
JOIN orders o ON o.profile = b.profile AND o.key = b.key
JOIN influenced i ON i.profile = b.profile AND i.key = b.key;

-- name: persons_of_bucket_all
-- Name everybody of a bucket, whether anything was told of them or not.
-- index: profile_pkey
SELECT id FROM profile WHERE bucket = $1::int;

-- name: persons_of_the_house
-- Name the persons of a bucket whose numbers are in one of some lists, or are some: nobody counts what they do (RP-3).
-- index: profile_number; list_entry_pkey
SELECT p.id FROM profile p
WHERE p.bucket = $1::int AND p.number IS NOT NULL AND (
    p.number = ANY($2::bigint[])
    OR EXISTS (SELECT FROM list_entry l WHERE l.bucket = $1::int AND l.list = ANY($3::bigint[]) AND l.number = p.number));

-- name: report_upto
-- Read how far a bucket, or a lane, is in what reports are reckoned from.
-- index: report_upto_pkey
SELECT place, at FROM report_upto WHERE kind = $1::text;

-- name: note_report_upto
-- Note how far a bucket, or a lane, is.
-- index: report_upto_pkey, as the arbiter
INSERT INTO report_upto (kind, place, at) VALUES ($1::text, $2::int, $3::timestamptz)
ON CONFLICT (kind, place) DO UPDATE SET at = excluded.at;

-- name: hold_report_upto
-- Let nobody else reckon a bucket, or a lane, before our transaction ends.
-- index: report_upto_pkey, as the arbiter
INSERT INTO report_upto AS r (kind, place, at) VALUES ($1::text, $2::int, $3::timestamptz)
ON CONFLICT (kind, place) DO UPDATE SET at = r.at RETURNING at;

-- name: forget_people_upto
-- Have all persons reckoned anew.
-- index: report_upto_pkey
DELETE FROM report_upto WHERE kind = 'people';

-- name: report_terms
-- Read by which settings reports are reckoned.
-- index: report_terms_pkey
SELECT body FROM report_terms WHERE id = 1;

-- name: note_report_terms
-- Note by which settings reports are reckoned from now on.
-- index: report_terms_pkey, as the arbiter
INSERT INTO report_terms (id, at, body) VALUES (1, $1::timestamptz, $2::text)
ON CONFLICT (id) DO UPDATE SET at = excluded.at, body = excluded.body;

-- name: marked_runs
-- Name the runs whose texts have a link, or whose gates bear a tag that makes them tests.
-- index: none: all runs; once a round
SELECT r.id, r.template ~* 'https?://|[{] *link' AS has_link,
       r.is_test OR coalesce(r.gate -> 'tags' ? 'test', false) AS is_test FROM run r
WHERE r.template ~* 'https?://|[{] *link' OR r.is_test OR r.gate -> 'tags' ? 'test';

-- name: names_of_campaigns
-- Name the campaigns that have been applied.
-- index: none: they are few
SELECT id, name FROM campaign;

-- name: lists_named
-- Find lists by their names.
-- index: contact_list_name_key
SELECT id FROM contact_list WHERE name = ANY($1::text[]) ORDER BY id;

-- name: main_currency
-- Find the currency in which most people have paid.
-- index: none: all people, once
SELECT k.currency FROM profile p, jsonb_object_keys(p.spent) AS k (currency)
WHERE p.last_order_at IS NOT NULL GROUP BY k.currency ORDER BY count(*) DESC, k.currency LIMIT 1;

-- name: goals
-- Read the goals of all campaigns, those that hold no more too.
-- index: none: a few a campaign
SELECT id, campaign, place, name, since, until, body::text AS body FROM campaign_goal ORDER BY campaign, place, since, id;

-- name: end_goal
-- Let a goal hold for messages that were sent before a moment alone (GL-6).
-- index: campaign_goal_pkey
UPDATE campaign_goal SET until = $2::timestamptz WHERE id = $1::bigint;

-- name: add_goal
-- Let a goal hold for the messages of a campaign from a moment on.
-- index: campaign_goal_pkey
INSERT INTO campaign_goal (campaign, place, name, since, body)
VALUES ($1::text, $2::smallint, $3::text, $4::timestamptz, $5::text::jsonb);

-- name: reach_back
-- Let the newest goals of a campaign hold for all of its messages, the others for none: a recompute that was asked for (GL-6).
-- index: campaign_goal_campaign
UPDATE campaign_goal SET since = $2::timestamptz WHERE campaign = $1::text AND until IS NULL;

-- name: drop_old_goals
-- Drop the goals of a campaign that hold no more.
-- index: campaign_goal_campaign
DELETE FROM campaign_goal WHERE campaign = $1::text AND until IS NOT NULL;

-- name: mark_report_due
-- Have persons reckoned anew.
-- index: report_due_pkey, as the arbiter
INSERT INTO report_due (bucket, profile) SELECT $1::int, p FROM unnest($2::bigint[]) AS p (p)
ON CONFLICT (bucket, profile) DO NOTHING;

-- name: touched_by
-- Name the persons of a bucket who were sent messages of a campaign.
-- index: touch_campaign
SELECT DISTINCT t.profile FROM touch t WHERE t.bucket = $1::int AND t.campaign = $2::text;
