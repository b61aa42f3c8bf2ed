-- name: old_enrolments
-- Look at some enrolments of a bucket, behind $2 and with ids of before a moment ($3): which ended before it ($4), and which of
-- those are needed: of a silence whatever came of it; else of who was in it (not $9, who was refused), where its campaign is
-- entered once ($6), or was entered within its period ($7 since $8).
-- index: enrolment_pkey
SELECT e.id, e.state > 0 AND coalesce(e.ended_at, e.entered_at) < $4::timestamptz AS is_over,
       e.cause LIKE 'silence:%' OR (e.state <> $9::smallint AND (
           e.campaign = ANY($6::bigint[])
           OR EXISTS (SELECT FROM unnest($7::bigint[], $8::timestamptz[]) AS k (campaign, since)
                      WHERE k.campaign = e.campaign AND e.entered_at > k.since))) AS is_needed
FROM enrolment e
WHERE e.bucket = $1::int AND e.id > $2::bigint AND e.id < $3::bigint
ORDER BY e.id LIMIT $5::int;

-- name: drop_old_enrolments
-- Drop enrolments that are over.
-- index: enrolment_pkey
DELETE FROM enrolment WHERE bucket = $1::int AND id = ANY($2::bigint[]) AND state > 0;

-- name: empty_enrolments
-- Take from enrolments that are over what their causes said.
-- index: enrolment_pkey
UPDATE enrolment SET context = '{}' WHERE bucket = $1::int AND id = ANY($2::bigint[]) AND state > 0 AND context <> '{}';

-- name: drop_old_step_runs
-- Drop what was done of the steps of enrolments.
-- index: step_run_pkey
DELETE FROM step_run WHERE bucket = $1::int AND enrolment = ANY($2::bigint[]);

-- name: drop_old_excepted
-- Drop what exceptions did to texts of enrolments.
-- index: excepted_pkey
DELETE FROM excepted WHERE bucket = $1::int AND enrolment = ANY($2::bigint[]);

-- name: forget_ticks
-- Drop occurrences of before a moment that have a newer one of their campaign.
-- index: none: a table of a few thousand rows; campaign_tick_at
DELETE FROM campaign_tick t
WHERE t.at < $1::timestamptz AND EXISTS (SELECT FROM campaign_tick n WHERE n.campaign = t.campaign AND n.at > t.at);

-- name: forget_text_orders
-- Drop orders by text that began before a moment, are in one of the states $3, and of which no shop is to be told.
-- index: text_order_at
DELETE FROM text_order
WHERE bucket = $1::int AND ctid = ANY(ARRAY(
    SELECT o.ctid FROM text_order o
    WHERE o.bucket = $1::int AND o.at < $2::timestamptz AND o.state = ANY($3::smallint[]) AND o.due_at IS NULL
    ORDER BY o.at LIMIT $4::int FOR UPDATE));

-- name: forget_causes
-- Drop causes that were told before a moment.
-- index: cause_profile finds the bucket, which has few of them
DELETE FROM cause
WHERE bucket = $1::int AND ctid = ANY(ARRAY(
    SELECT c.ctid FROM cause c WHERE c.bucket = $1::int AND c.received_at < $2::timestamptz LIMIT $3::int FOR UPDATE));

-- name: old_experiments
-- Name the experiments that were decided or stopped before a moment.
-- index: none: a row for each experiment
SELECT id FROM experiment WHERE state IN ('decided', 'stopped') AND decided_at < $1::timestamptz ORDER BY id;

-- name: forget_arms
-- Drop which arms numbers were given of experiments ($2), before a moment.
-- index: assignment_pkey
DELETE FROM assignment
WHERE bucket = $1::int AND ctid = ANY(ARRAY(
    SELECT a.ctid FROM assignment a
    WHERE a.bucket = $1::int AND a.experiment = ANY($2::bigint[]) AND a.at < $3::timestamptz LIMIT $4::int FOR UPDATE));

-- name: old_step_runs
-- Find runs of steps of campaigns that were made before a moment, and have a newer one of the same step, behind $2; and the newest.
-- index: campaign_run_run; campaign_run_pkey
SELECT c.run, n.run AS newest
FROM campaign_run c JOIN run r ON r.id = c.run
CROSS JOIN LATERAL (
    SELECT max(x.run) AS run FROM campaign_run x WHERE x.campaign = c.campaign AND x.version = c.version AND x.step = c.step) n
WHERE c.run > $2::bigint AND r.created_at < $1::timestamptz AND n.run > c.run ORDER BY c.run LIMIT $3::int;

-- name: runs_with_texts
-- Say which of some runs have texts that are in no lane yet.
-- index: none: outgoing has what came in the last second, and what a paused campaign holds
SELECT DISTINCT run FROM outgoing WHERE bucket BETWEEN 0 AND 255 AND run = ANY($1::bigint[]);

-- name: fold_message_days
-- Add what was counted of days of some runs ($2) of a lane to that of others ($3).
-- index: message_day_pkey, as the arbiter too
INSERT INTO message_day AS d (lane, run, day, country, state, status, is_excluded, messages, segments)
SELECT m.lane, f.newest, m.day, m.country, m.state, m.status, m.is_excluded, sum(m.messages), sum(m.segments)
FROM message_day m JOIN unnest($2::bigint[], $3::bigint[]) AS f (run, newest) ON f.run = m.run
WHERE m.lane = $1::int
GROUP BY m.lane, f.newest, m.day, m.country, m.state, m.status, m.is_excluded
ON CONFLICT (lane, run, day, country, state, status, is_excluded)
DO UPDATE SET messages = d.messages + excluded.messages, segments = d.segments + excluded.segments;

-- name: drop_folded_days
-- Drop what was counted of days of some runs of a lane.
-- index: message_day_pkey
DELETE FROM message_day WHERE lane = $1::int AND run = ANY($2::bigint[]);

-- name: fold_touches
-- Have messages to persons of a bucket that were of some runs ($2) be of others ($3).
-- index: touch_pkey finds the bucket
UPDATE touch t SET run = f.newest FROM unnest($2::bigint[], $3::bigint[]) AS f (run, newest)
WHERE t.bucket = $1::int AND t.run = f.run;

-- name: fold_owed
-- The same of to whom orders are owed.
-- index: attribution_pkey finds the bucket
UPDATE attribution a SET run = f.newest FROM unnest($2::bigint[], $3::bigint[]) AS f (run, newest)
WHERE a.bucket = $1::int AND a.run = f.run;

-- name: fold_reached
-- The same of which goals were reached.
-- index: conversion_pkey finds the bucket
UPDATE conversion c SET run = f.newest FROM unnest($2::bigint[], $3::bigint[]) AS f (run, newest)
WHERE c.bucket = $1::int AND c.run = f.run;

-- name: fold_clicks
-- The same of who opened links.
-- index: click_pkey finds the bucket
UPDATE click c SET run = f.newest FROM unnest($2::bigint[], $3::bigint[]) AS f (run, newest)
WHERE c.bucket = $1::int AND c.run = f.run;

-- name: drop_campaign_runs
-- Drop which runs were of steps.
-- index: campaign_run_run
DELETE FROM campaign_run WHERE run = ANY($1::bigint[]);
