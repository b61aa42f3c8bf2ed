-- Sums for reports. All are asked by a person, and look through many lanes or all people; what is counted by day stands in the
-- views report_… of the migrations.

-- name: report_run_facts
-- Read of each run of a campaign to whom it was sent, and who was in none of its chunks.
-- index: none: the runs of a campaign are few
SELECT r.id, r.name, r.source, r.recipients, r.not_before, r.list FROM run r WHERE r.name = $1::text ORDER BY r.id;

-- name: report_skipped
-- Count who was in no chunk of some runs, by reason.
-- index: run_skipped_pkey
SELECT reason, sum(people)::bigint AS people FROM run_skipped
WHERE bucket = ANY($1::int[]) AND run = ANY($2::bigint[]) GROUP BY reason ORDER BY reason DESC;

-- name: report_prevented
-- Count who of a campaign ($1) did not enter, left before its end, or got no text of a step, by reason, on some days in a zone ($4);
-- what the gate refuses is in report_refusal_day.
-- index: none: a campaign as a whole; asked by a person
SELECT f.place, f.reason, count(*) AS people
FROM (
    SELECT CASE e.state WHEN 2 THEN 'not entered' ELSE 'left' END AS place, e.reason, e.ended_at AS at
    FROM enrolment e WHERE e.campaign = $1::bigint AND e.state IN (1, 2) AND e.reason < 0
    UNION ALL
    SELECT 'step', r.outcome, r.at FROM step_run r WHERE r.campaign = $1::bigint AND r.outcome < 0
) f
WHERE (f.at AT TIME ZONE $4::text)::date BETWEEN $2::date AND $3::date GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2 DESC;

-- name: report_exceptions
-- Count the texts of a campaign ($1) that exceptions met on some days in a zone ($4), as report_exception does of all days.
-- index: excepted_campaign
SELECT name AS exception, count(*) FILTER (WHERE state = 1)::bigint AS prevented,
       (percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM planned_at - happened_at)::float8)
           FILTER (WHERE state = 1))::float8 AS lead_s,
       count(*) FILTER (WHERE state = 2)::bigint AS late,
       count(*) FILTER (WHERE state = 2 AND cancel = 2)::bigint AS cancelled,
       count(*) FILTER (WHERE state = 2 AND cancel = 3)::bigint AS refused
FROM excepted
WHERE campaign = $1::text AND state > 0 AND (found_at AT TIME ZONE $4::text)::date BETWEEN $2::date AND $3::date
GROUP BY name ORDER BY name;

-- name: report_conversations
-- Count by inbox the conversations that began on some days in a zone ($3), those that were answered and how fast, and whoever of
-- all of them waits for an answer now.
-- index: none: all conversations; asked by a person
SELECT c.inbox, count(*) FILTER (WHERE d.is_in) AS opened, count(*) FILTER (WHERE d.is_in AND c.first_answer_at IS NOT NULL) AS answered,
       percentile_disc(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY extract(epoch FROM c.first_answer_at - c.opened_at)::float8)
           FILTER (WHERE d.is_in AND c.first_answer_at IS NOT NULL) AS to_answer,
       count(*) FILTER (WHERE c.waits_since IS NOT NULL AND c.state < 2) AS unanswered,
       min(c.waits_since) FILTER (WHERE c.state < 2) AS oldest
FROM conversation c
CROSS JOIN LATERAL (SELECT (c.opened_at AT TIME ZONE $3::text)::date BETWEEN $1::date AND $2::date AS is_in) d
GROUP BY c.inbox ORDER BY c.inbox;

-- name: report_timing
-- Percentiles, in seconds, from what a message is due to (an entering) to its sending, and from there to its delivery.
-- index: touch_campaign
SELECT count(*) FILTER (WHERE entered_at IS NOT NULL) AS entered, count(delivered_at) AS delivered,
       percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM submitted_at - entered_at)::float8) AS to_submit,
       percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM delivered_at - submitted_at)::float8) AS to_deliver,
       percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM replies[1] - delivered_at)::float8)
           FILTER (WHERE replies[1] >= delivered_at) AS to_reply,
       count(*) FILTER (WHERE replies[1] >= delivered_at) AS replied
FROM touch WHERE NOT is_excluded AND ($1::text = '' OR campaign = $1::text) AND day >= $2::date AND day <= $3::date;

-- name: report_lives
-- Count buyers by the days from their first order to their last, of those who have lapsed: silent for more than $2 times their
-- own median gap (of who bought once, everybody's); of the others, by the days from their first order until now, $1.
-- index: none: all orders; asked by a person
WITH bought AS (
    SELECT o.bucket, o.profile, (o.placed_at AT TIME ZONE 'UTC')::date AS day FROM person_order o
    WHERE o.is_counted AND o.placed_at <= $1::timestamptz GROUP BY 1, 2, 3
), gone AS (
    SELECT bucket, profile, day, day - lag(day) OVER (PARTITION BY bucket, profile ORDER BY day) AS gap FROM bought
), usual AS (
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY gap) AS gap FROM gone WHERE gap IS NOT NULL
), own AS (
    SELECT bucket, profile, min(day) AS first, max(day) AS last, percentile_cont(0.5) WITHIN GROUP (ORDER BY gap) AS gap
    FROM gone GROUP BY bucket, profile
), judged AS (
    SELECT o.first, o.last,
           (($1::timestamptz AT TIME ZONE 'UTC')::date - o.last) > $2::float8 * coalesce(o.gap, u.gap) AS is_lapsed
    FROM own o CROSS JOIN usual u
)
SELECT CASE WHEN is_lapsed THEN last - first ELSE ($1::timestamptz AT TIME ZONE 'UTC')::date - first END AS days,
       count(*) FILTER (WHERE is_lapsed) AS lapsed, count(*) FILTER (WHERE NOT coalesce(is_lapsed, false)) AS still,
       sum(last - first)::bigint AS together
FROM judged GROUP BY 1 ORDER BY 1;

-- name: report_year
-- Count who bought in the 365 days before $1, how often and for how much in one currency ($2), and of those who bought in the
-- 365 days before these who did not buy again.
-- index: none: all orders; asked by a person
SELECT count(*) FILTER (WHERE orders > 0) AS buyers, coalesce(sum(orders), 0)::bigint AS orders, coalesce(sum(net), 0)::bigint AS net,
       count(*) FILTER (WHERE before > 0) AS buyers_before, count(*) FILTER (WHERE before > 0 AND orders = 0) AS lost,
       count(*) FILTER (WHERE ever >= 2) AS bought_again, count(*) AS bought_ever,
       percentile_disc(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM $1::timestamptz - last_at)::float8 / 86400) AS recency_days
FROM (
    SELECT o.bucket, o.profile, count(*) AS ever, max(o.placed_at) AS last_at,
           count(*) FILTER (WHERE o.placed_at > $1::timestamptz - interval '365 days') AS orders,
           count(*) FILTER (WHERE o.placed_at <= $1::timestamptz - interval '365 days'
                              AND o.placed_at > $1::timestamptz - interval '730 days') AS before,
           sum(o.amount - coalesce((o.refunded ->> o.currency)::bigint, 0)
               - CASE WHEN o.currency = '' THEN 0 ELSE coalesce((o.refunded ->> '')::bigint, 0) END)
               FILTER (WHERE o.currency = $2::text AND o.placed_at > $1::timestamptz - interval '365 days') AS net
    FROM person_order o WHERE o.is_counted AND o.placed_at <= $1::timestamptz GROUP BY o.bucket, o.profile) p;

-- name: report_reactivated
-- Count who had bought before and not for $2 when a message of a campaign ($1) was delivered to them, and of those who bought
-- within $3 behind it.
-- index: touch_campaign; person_order_placed
SELECT count(*) AS asleep, count(*) FILTER (WHERE is_back) AS reactivated
FROM (
    SELECT t.bucket, t.profile, bool_or(EXISTS (
        SELECT FROM person_order n WHERE n.bucket = t.bucket AND n.profile = t.profile AND n.is_counted
          AND n.placed_at > t.delivered_at AND n.placed_at < t.delivered_at + $3::interval)) AS is_back
    FROM touch t
    WHERE t.campaign = $1::text AND NOT t.is_excluded AND t.delivered_at IS NOT NULL
      AND EXISTS (SELECT FROM person_order b WHERE b.bucket = t.bucket AND b.profile = t.profile AND b.is_counted
                    AND b.placed_at <= t.delivered_at - $2::interval)
      AND NOT EXISTS (SELECT FROM person_order b WHERE b.bucket = t.bucket AND b.profile = t.profile AND b.is_counted
                        AND b.placed_at > t.delivered_at - $2::interval AND b.placed_at <= t.delivered_at)
    GROUP BY t.bucket, t.profile) p;

-- name: report_hours
-- Count what persons did since $1, by the hour of their own clock; of whom no zone is known, by that of the house ($2). What the
-- gateway tells of them is not theirs.
-- index: person_event_received (brin), and all of what came since
SELECT extract(hour FROM v.occurred_at AT TIME ZONE coalesce(z.name, $2::text))::int AS hour, count(*) AS n
FROM person_event v JOIN profile p ON p.bucket = v.bucket AND p.id = v.profile
LEFT JOIN LATERAL (SELECT p.zone AS name WHERE p.zone = ANY($3::text[])) z ON true
WHERE v.received_at >= $1::timestamptz AND v.occurred_at >= $1::timestamptz AND v.flags & 8 = 0 GROUP BY 1 ORDER BY 1;

-- name: report_sources
-- Say of each source of events when it told something last, and how much in the 28 days before $1.
-- index: person_event_received (brin)
SELECT v.source, max(v.received_at) AS last_at, min(v.received_at) AS first_at, count(*) AS events,
       count(DISTINCT (v.received_at AT TIME ZONE 'UTC')::date) AS days
FROM person_event v WHERE v.received_at > $1::timestamptz - interval '28 days' AND v.received_at <= $1::timestamptz AND v.flags & 8 = 0
GROUP BY v.source ORDER BY v.source;

-- name: report_growth
-- Count by day who became marketable to brands and who ceased to be, and by which way: from the ledger of consent alone. Who has
-- granted, and since then not revoked, and is not suppressed; a no of everything (*) is one of each brand. $1 = zone of days.
-- index: none: the whole ledger; asked by a person
WITH words AS (
    SELECT c.bucket, c.number, c.id, c.brand, coalesce(c.effective_at, c.recorded_at) AS at, c.source,
           CASE c.action WHEN 'suppress' THEN 0 WHEN 'revoke' THEN 1 WHEN 'release' THEN 2 ELSE 3 END AS says
    FROM consent c WHERE c.class IN ('promotional', 'all') AND c.action <> 'pending'
), brands AS (
    SELECT DISTINCT w.bucket, w.number, w.brand FROM words w WHERE w.brand <> '*' AND w.says = 3
), told AS (
    SELECT b.bucket, b.number, b.brand, w.at, w.source, w.says,
           row_number() OVER (PARTITION BY b.bucket, b.number, b.brand ORDER BY w.at, w.says DESC, w.id) AS nth
    FROM brands b JOIN words w ON w.bucket = b.bucket AND w.number = b.number AND w.brand IN (b.brand, '*')
), standing AS (
    -- The last word of each sort, with its place before it: 4 nth + says.
    SELECT bucket, number, brand, at, source, nth,
           coalesce(max(4 * nth + says) FILTER (WHERE says IN (1, 3)) OVER w % 4 = 3, false)
           AND coalesce(max(4 * nth + says) FILTER (WHERE says IN (0, 2)) OVER w % 4, 2) = 2 AS is_in
    FROM told WINDOW w AS (PARTITION BY bucket, number, brand ORDER BY nth)
), turned AS (
    SELECT s.*, coalesce(lag(is_in) OVER (PARTITION BY bucket, number, brand ORDER BY nth), false) AS was_in FROM standing s
)
SELECT t.brand, (t.at AT TIME ZONE $1::text)::date AS day, t.source, count(*) FILTER (WHERE t.is_in) AS gained,
       count(*) FILTER (WHERE t.was_in) AS lost
FROM turned t WHERE t.is_in <> t.was_in GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;

-- name: report_opt_outs
-- Count opt-outs behind messages by what told them (S4.37).
-- index: touch_campaign
SELECT opted_out_by AS source, count(*) AS people FROM touch
WHERE opted_out_at IS NOT NULL AND NOT is_excluded AND ($1::text = '' OR campaign = $1::text) AND day >= $2::date AND day <= $3::date
GROUP BY 1 ORDER BY 2 DESC, 1;

-- name: report_rules
-- Count the orders that are owed to messages of a campaign by the rule that says so, and those it had a part in.
-- index: attribution_campaign
SELECT a.rule, count(*) AS orders, sum(a.net)::bigint AS net FROM attribution a
WHERE a.campaign = $1::text AND a.is_main AND NOT a.is_excluded AND a.day >= $2::date AND a.day <= $3::date GROUP BY a.rule ORDER BY a.rule;

-- name: report_influenced
-- Count the orders that a campaign had a part in, whoever they are owed to.
-- index: none: all orders that are owed to messages
SELECT count(*) AS orders, coalesce(sum(a.net), 0)::bigint AS net FROM attribution a
WHERE a.influenced @> ARRAY[$1::text] AND a.is_main AND NOT a.is_excluded AND a.day >= $2::date AND a.day <= $3::date;
