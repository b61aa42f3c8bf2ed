-- Numbers: what reports are reckoned from, narrow and by person or by lane. All of it follows from events, orders, outcomes
-- and receipts, and is reckoned anew from them by a rebuild (RP-1).

-- A message that was sent to a person, with what came of it. day: of the sending, in the house's zone. enrolment: 0 = none.
-- clicks, replies: when, the first ones first, of humans and of no STOP; unsure, bots: clicks of others. opened_at: a page of
-- ours. codes, codes_until: what it brought. is_excluded: a test, or one of the house's own numbers (RP-3).
-- leads: the first of its case, an enrolment or a run, that was delivered.
CREATE TABLE IF NOT EXISTS touch (
    bucket int NOT NULL,
    lane int NOT NULL,
    pos int NOT NULL,
    unsure int NOT NULL DEFAULT 0,
    bots int NOT NULL DEFAULT 0,
    day date NOT NULL,
    profile bigint NOT NULL,
    chunk bigint NOT NULL,
    run bigint NOT NULL,
    enrolment bigint NOT NULL DEFAULT 0,
    submitted_at timestamptz NOT NULL,
    delivered_at timestamptz,
    failed_at timestamptz,
    entered_at timestamptz,
    opened_at timestamptz,
    opted_out_at timestamptz,
    is_excluded boolean NOT NULL DEFAULT false,
    has_link boolean NOT NULL DEFAULT false,
    leads boolean NOT NULL DEFAULT false,
    campaign text NOT NULL,
    variant text NOT NULL DEFAULT '',
    opted_out_by text NOT NULL DEFAULT '',
    clicks timestamptz[] NOT NULL DEFAULT '{}',
    replies timestamptz[] NOT NULL DEFAULT '{}',
    codes text[] NOT NULL DEFAULT '{}',
    codes_until timestamptz[] NOT NULL DEFAULT '{}',
    CONSTRAINT touch_pkey PRIMARY KEY (bucket, profile, lane, chunk, pos)
);

CREATE INDEX IF NOT EXISTS touch_campaign ON touch (campaign, day);

-- To which message an order is owed (GL-4). rule: 1 coupon, 2 click, 3 reply, 4 delivery. day: of that message; placed_at
-- stays what it was when money is given back (GL-8). is_main: its currency is the house's. influenced: campaigns.
CREATE TABLE IF NOT EXISTS attribution (
    bucket int NOT NULL,
    lane int NOT NULL,
    pos int NOT NULL,
    day date NOT NULL,
    profile bigint NOT NULL,
    chunk bigint NOT NULL,
    run bigint NOT NULL,
    gross bigint NOT NULL,
    net bigint NOT NULL,
    placed_at timestamptz NOT NULL,
    rule smallint NOT NULL,
    is_main boolean NOT NULL,
    is_excluded boolean NOT NULL DEFAULT false,
    campaign text NOT NULL,
    variant text NOT NULL DEFAULT '',
    key text NOT NULL,
    currency text NOT NULL,
    influenced text[] NOT NULL,
    CONSTRAINT attribution_pkey PRIMARY KEY (bucket, profile, key)
);

CREATE INDEX IF NOT EXISTS attribution_campaign ON attribution (campaign, day);

-- Who has reached a goal: once for each case, an enrolment or a run (GL-3). day: of the message. gross, net: of the orders
-- that are hits, in the house's currency.
CREATE TABLE IF NOT EXISTS conversion (
    bucket int NOT NULL,
    lane int NOT NULL,
    pos int NOT NULL,
    hits int NOT NULL,
    day date NOT NULL,
    profile bigint NOT NULL,
    chunk bigint NOT NULL,
    run bigint NOT NULL,
    case_id bigint NOT NULL,
    gross bigint NOT NULL,
    net bigint NOT NULL,
    submitted_at timestamptz NOT NULL,
    at timestamptz NOT NULL,
    place smallint NOT NULL,
    is_excluded boolean NOT NULL DEFAULT false,
    campaign text NOT NULL,
    variant text NOT NULL DEFAULT '',
    CONSTRAINT conversion_pkey PRIMARY KEY (bucket, profile, campaign, case_id, place)
);

CREATE INDEX IF NOT EXISTS conversion_campaign ON conversion (campaign, day);

-- What became of the messages of a run, by the day that they were sent or refused on, in the house's zone. state as in
-- `result`; status: the reason where they were refused or rejected, else 0. is_excluded as in touch.
CREATE TABLE IF NOT EXISTS message_day (
    lane int NOT NULL,
    country int NOT NULL,
    status int NOT NULL,
    day date NOT NULL,
    run bigint NOT NULL,
    messages bigint NOT NULL,
    segments bigint NOT NULL,
    state smallint NOT NULL,
    is_excluded boolean NOT NULL,
    CONSTRAINT message_day_pkey PRIMARY KEY (lane, run, day, country, state, status, is_excluded)
);

-- Persons whose rows above have to be reckoned anew though nothing new was told of them: they became another, or moved.
CREATE TABLE IF NOT EXISTS report_due (
    bucket int NOT NULL,
    profile bigint NOT NULL,
    CONSTRAINT report_due_pkey PRIMARY KEY (bucket, profile)
);

-- How far a bucket, or a lane, is in the tables above.
CREATE TABLE IF NOT EXISTS report_upto (
    kind text NOT NULL,
    place int NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT report_upto_pkey PRIMARY KEY (kind, place)
);

-- By which settings the tables above are reckoned; others make all of it due.
CREATE TABLE IF NOT EXISTS report_terms (
    id int NOT NULL DEFAULT 1,
    at timestamptz NOT NULL,
    body text NOT NULL,
    CONSTRAINT report_terms_pkey PRIMARY KEY (id),
    CONSTRAINT report_terms_id_check CHECK (id = 1)
);

-- The goals of campaigns, each with the messages it is for: an edit is not retroactive (GL-6). body: gateway.goal.Goal.
CREATE TABLE IF NOT EXISTS campaign_goal (
    id bigint GENERATED BY DEFAULT AS IDENTITY,
    since timestamptz NOT NULL,
    until timestamptz,
    place smallint NOT NULL,
    campaign text NOT NULL,
    name text NOT NULL,
    body jsonb NOT NULL,
    CONSTRAINT campaign_goal_pkey PRIMARY KEY (id),
    CONSTRAINT campaign_goal_place_check CHECK (place BETWEEN 1 AND 4)
);

CREATE INDEX IF NOT EXISTS campaign_goal_campaign ON campaign_goal (campaign, place);

-- What was told lately is found by it at next to no cost, whenever it happened.
CREATE INDEX IF NOT EXISTS person_event_received ON person_event USING brin (received_at) WITH (pages_per_range = 32, autosummarize = on);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        PERFORM create_distributed_table('touch', 'bucket', colocate_with => 'endpoint');
        PERFORM create_distributed_table('attribution', 'bucket', colocate_with => 'endpoint');
        PERFORM create_distributed_table('conversion', 'bucket', colocate_with => 'endpoint');
        PERFORM create_distributed_table('report_due', 'bucket', colocate_with => 'endpoint');
        PERFORM create_distributed_table('message_day', 'lane', colocate_with => 'chunk');
    END IF;
END
$$;

-- Views that stay: their columns are named as the formulas of docs/numbers.md are, and new ones come behind the old ones.

-- What came of a campaign's messages, by the day that they were sent on; of the last 72 hours it settles yet (RP-2).
CREATE OR REPLACE VIEW report_campaign_day AS
SELECT b.*,
       accepted::float8 / nullif(attempted, 0) AS acceptance_rate, delivered::float8 / nullif(accepted, 0) AS delivery_rate,
       undelivered::float8 / nullif(accepted, 0) AS undelivered_rate,
       no_receipt::float8 / nullif(accepted, 0) AS no_receipt_share,
       clicked_endpoints::float8 / nullif(link_endpoints, 0) AS click_rate,
       opened_endpoints::float8 / nullif(link_endpoints, 0) AS page_open_rate,
       replied_endpoints::float8 / nullif(delivered_endpoints, 0) AS response_rate,
       converted::float8 / nullif(delivered_cases, 0) AS conversion_rate,
       codes_redeemed::float8 / nullif(codes_delivered, 0) AS redemption_rate,
       opted_out_endpoints::float8 / nullif(delivered_endpoints, 0) AS unsubscribe_rate,
       revenue_net::float8 / nullif(delivered, 0) AS revenue_per_message,
       revenue_net::float8 / nullif(parts, 0) AS revenue_per_part,
       revenue_net::float8 / nullif(orders, 0) AS average_order_value,
       b.day >= ((now() - interval '72 hours') AT TIME ZONE 'UTC')::date AS is_settling
FROM (
SELECT campaign, day,
       coalesce(attempted, 0) AS attempted, coalesce(accepted, 0) AS accepted, coalesce(delivered, 0) AS delivered,
       coalesce(undelivered, 0) AS undelivered, coalesce(no_receipt, 0) AS no_receipt, coalesce(uncertain, 0) AS uncertain,
       coalesce(rejected, 0) AS rejected, coalesce(refused, 0) AS refused, coalesce(parts, 0) AS parts,
       coalesce(endpoints, 0) AS endpoints, coalesce(delivered_endpoints, 0) AS delivered_endpoints,
       coalesce(link_endpoints, 0) AS link_endpoints, coalesce(clicked_endpoints, 0) AS clicked_endpoints,
       coalesce(unsure_endpoints, 0) AS unsure_endpoints, coalesce(opened_endpoints, 0) AS opened_endpoints,
       coalesce(replied_endpoints, 0) AS replied_endpoints, coalesce(opted_out_endpoints, 0) AS opted_out_endpoints,
       coalesce(delivered_cases, 0) AS delivered_cases, coalesce(codes_delivered, 0) AS codes_delivered,
       coalesce(converted, 0) AS converted, coalesce(goal_2, 0) AS goal_2, coalesce(goal_3, 0) AS goal_3,
       coalesce(goal_4, 0) AS goal_4, coalesce(orders, 0) AS orders, coalesce(codes_redeemed, 0) AS codes_redeemed,
       coalesce(revenue_gross, 0) AS revenue_gross, coalesce(revenue_net, 0) AS revenue_net
FROM (
    SELECT r.name AS campaign, m.day,
           sum(m.messages) FILTER (WHERE m.state <> 9)::bigint AS attempted,
           sum(m.messages) FILTER (WHERE m.state IN (0, 1, 3, 4, 5, 6, 7, 10))::bigint AS accepted,
           sum(m.messages) FILTER (WHERE m.state = 0)::bigint AS delivered,
           sum(m.messages) FILTER (WHERE m.state IN (5, 6, 7, 10))::bigint AS undelivered,
           sum(m.messages) FILTER (WHERE m.state IN (1, 3, 4))::bigint AS no_receipt,
           sum(m.messages) FILTER (WHERE m.state = 2)::bigint AS uncertain,
           sum(m.messages) FILTER (WHERE m.state = 8)::bigint AS rejected,
           sum(m.messages) FILTER (WHERE m.state = 9)::bigint AS refused, sum(m.segments)::bigint AS parts
    FROM message_day m JOIN run r ON r.id = m.run WHERE NOT m.is_excluded GROUP BY 1, 2
) l FULL JOIN (
    SELECT campaign, day, count(*) AS endpoints, count(*) FILTER (WHERE delivered) AS delivered_endpoints,
           count(*) FILTER (WHERE has_link) AS link_endpoints, count(*) FILTER (WHERE clicked) AS clicked_endpoints,
           count(*) FILTER (WHERE unsure AND NOT clicked) AS unsure_endpoints, count(*) FILTER (WHERE opened) AS opened_endpoints,
           count(*) FILTER (WHERE replied) AS replied_endpoints, count(*) FILTER (WHERE opted_out) AS opted_out_endpoints,
           sum(cases)::bigint AS delivered_cases, sum(codes)::bigint AS codes_delivered
    FROM (
        SELECT campaign, day, bucket, profile, count(*) FILTER (WHERE leads) AS cases, bool_or(delivered_at IS NOT NULL) AS delivered,
               bool_or(has_link AND delivered_at IS NOT NULL) AS has_link, bool_or(clicks <> '{}') AS clicked,
               bool_or(unsure > 0) AS unsure, bool_or(opened_at IS NOT NULL) AS opened,
               bool_or(replies[1] < submitted_at + interval '72 hours') AS replied,
               bool_or(opted_out_at IS NOT NULL) AS opted_out, sum(cardinality(codes)) FILTER (WHERE delivered_at IS NOT NULL) AS codes
        FROM touch WHERE NOT is_excluded GROUP BY campaign, day, bucket, profile) p
    GROUP BY campaign, day
) p USING (campaign, day) FULL JOIN (
    SELECT campaign, day, count(*) FILTER (WHERE place = 1) AS converted, count(*) FILTER (WHERE place = 2) AS goal_2,
           count(*) FILTER (WHERE place = 3) AS goal_3, count(*) FILTER (WHERE place = 4) AS goal_4
    FROM conversion WHERE NOT is_excluded GROUP BY campaign, day
) g USING (campaign, day) FULL JOIN (
    SELECT campaign, day, count(*) AS orders, count(*) FILTER (WHERE rule = 1) AS codes_redeemed,
           sum(gross) FILTER (WHERE is_main)::bigint AS revenue_gross, sum(net) FILTER (WHERE is_main)::bigint AS revenue_net
    FROM attribution WHERE NOT is_excluded GROUP BY campaign, day
) o USING (campaign, day)
) b;

-- The same of all days: a person whom several messages of it reached counts once.
CREATE OR REPLACE VIEW report_campaign AS
SELECT b.*,
       accepted::float8 / nullif(attempted, 0) AS acceptance_rate, delivered::float8 / nullif(accepted, 0) AS delivery_rate,
       undelivered::float8 / nullif(accepted, 0) AS undelivered_rate,
       no_receipt::float8 / nullif(accepted, 0) AS no_receipt_share,
       clicked_endpoints::float8 / nullif(link_endpoints, 0) AS click_rate,
       opened_endpoints::float8 / nullif(link_endpoints, 0) AS page_open_rate,
       replied_endpoints::float8 / nullif(delivered_endpoints, 0) AS response_rate,
       converted::float8 / nullif(delivered_cases, 0) AS conversion_rate,
       codes_redeemed::float8 / nullif(codes_delivered, 0) AS redemption_rate,
       opted_out_endpoints::float8 / nullif(delivered_endpoints, 0) AS unsubscribe_rate,
       revenue_net::float8 / nullif(delivered, 0) AS revenue_per_message,
       revenue_net::float8 / nullif(parts, 0) AS revenue_per_part,
       revenue_net::float8 / nullif(orders, 0) AS average_order_value
FROM (
SELECT campaign,
       coalesce(attempted, 0) AS attempted, coalesce(accepted, 0) AS accepted, coalesce(delivered, 0) AS delivered,
       coalesce(undelivered, 0) AS undelivered, coalesce(no_receipt, 0) AS no_receipt, coalesce(uncertain, 0) AS uncertain,
       coalesce(rejected, 0) AS rejected, coalesce(refused, 0) AS refused, coalesce(parts, 0) AS parts,
       coalesce(endpoints, 0) AS endpoints, coalesce(delivered_endpoints, 0) AS delivered_endpoints,
       coalesce(link_endpoints, 0) AS link_endpoints, coalesce(clicked_endpoints, 0) AS clicked_endpoints,
       coalesce(unsure_endpoints, 0) AS unsure_endpoints, coalesce(opened_endpoints, 0) AS opened_endpoints,
       coalesce(replied_endpoints, 0) AS replied_endpoints, coalesce(opted_out_endpoints, 0) AS opted_out_endpoints,
       coalesce(delivered_cases, 0) AS delivered_cases, coalesce(codes_delivered, 0) AS codes_delivered,
       coalesce(converted, 0) AS converted, coalesce(goal_2, 0) AS goal_2, coalesce(goal_3, 0) AS goal_3,
       coalesce(goal_4, 0) AS goal_4, coalesce(orders, 0) AS orders, coalesce(codes_redeemed, 0) AS codes_redeemed,
       coalesce(revenue_gross, 0) AS revenue_gross, coalesce(revenue_net, 0) AS revenue_net
FROM (
    SELECT r.name AS campaign,
           sum(m.messages) FILTER (WHERE m.state <> 9)::bigint AS attempted,
           sum(m.messages) FILTER (WHERE m.state IN (0, 1, 3, 4, 5, 6, 7, 10))::bigint AS accepted,
           sum(m.messages) FILTER (WHERE m.state = 0)::bigint AS delivered,
           sum(m.messages) FILTER (WHERE m.state IN (5, 6, 7, 10))::bigint AS undelivered,
           sum(m.messages) FILTER (WHERE m.state IN (1, 3, 4))::bigint AS no_receipt,
           sum(m.messages) FILTER (WHERE m.state = 2)::bigint AS uncertain,
           sum(m.messages) FILTER (WHERE m.state = 8)::bigint AS rejected,
           sum(m.messages) FILTER (WHERE m.state = 9)::bigint AS refused, sum(m.segments)::bigint AS parts
    FROM message_day m JOIN run r ON r.id = m.run WHERE NOT m.is_excluded GROUP BY 1
) l FULL JOIN (
    SELECT campaign, count(*) AS endpoints, count(*) FILTER (WHERE delivered) AS delivered_endpoints,
           count(*) FILTER (WHERE has_link) AS link_endpoints, count(*) FILTER (WHERE clicked) AS clicked_endpoints,
           count(*) FILTER (WHERE unsure AND NOT clicked) AS unsure_endpoints, count(*) FILTER (WHERE opened) AS opened_endpoints,
           count(*) FILTER (WHERE replied) AS replied_endpoints, count(*) FILTER (WHERE opted_out) AS opted_out_endpoints,
           sum(cases)::bigint AS delivered_cases, sum(codes)::bigint AS codes_delivered
    FROM (
        SELECT campaign, bucket, profile, count(*) FILTER (WHERE leads) AS cases, bool_or(delivered_at IS NOT NULL) AS delivered,
               bool_or(has_link AND delivered_at IS NOT NULL) AS has_link, bool_or(clicks <> '{}') AS clicked,
               bool_or(unsure > 0) AS unsure, bool_or(opened_at IS NOT NULL) AS opened,
               bool_or(replies[1] < submitted_at + interval '72 hours') AS replied,
               bool_or(opted_out_at IS NOT NULL) AS opted_out, sum(cardinality(codes)) FILTER (WHERE delivered_at IS NOT NULL) AS codes
        FROM touch WHERE NOT is_excluded GROUP BY campaign, bucket, profile) p
    GROUP BY campaign
) p USING (campaign) FULL JOIN (
    SELECT campaign, count(*) FILTER (WHERE place = 1) AS converted, count(*) FILTER (WHERE place = 2) AS goal_2,
           count(*) FILTER (WHERE place = 3) AS goal_3, count(*) FILTER (WHERE place = 4) AS goal_4
    FROM conversion WHERE NOT is_excluded GROUP BY campaign
) g USING (campaign) FULL JOIN (
    SELECT campaign, count(*) AS orders, count(*) FILTER (WHERE rule = 1) AS codes_redeemed,
           sum(gross) FILTER (WHERE is_main)::bigint AS revenue_gross, sum(net) FILTER (WHERE is_main)::bigint AS revenue_net
    FROM attribution WHERE NOT is_excluded GROUP BY campaign
) o USING (campaign)
) b;

-- The same by run, one execution of a campaign.
CREATE OR REPLACE VIEW report_run AS
SELECT b.*,
       accepted::float8 / nullif(attempted, 0) AS acceptance_rate, delivered::float8 / nullif(accepted, 0) AS delivery_rate,
       undelivered::float8 / nullif(accepted, 0) AS undelivered_rate,
       no_receipt::float8 / nullif(accepted, 0) AS no_receipt_share,
       clicked_endpoints::float8 / nullif(link_endpoints, 0) AS click_rate,
       opened_endpoints::float8 / nullif(link_endpoints, 0) AS page_open_rate,
       replied_endpoints::float8 / nullif(delivered_endpoints, 0) AS response_rate,
       converted::float8 / nullif(delivered_cases, 0) AS conversion_rate,
       codes_redeemed::float8 / nullif(codes_delivered, 0) AS redemption_rate,
       opted_out_endpoints::float8 / nullif(delivered_endpoints, 0) AS unsubscribe_rate,
       revenue_net::float8 / nullif(delivered, 0) AS revenue_per_message,
       revenue_net::float8 / nullif(parts, 0) AS revenue_per_part,
       revenue_net::float8 / nullif(orders, 0) AS average_order_value
FROM (
SELECT campaign, run,
       coalesce(attempted, 0) AS attempted, coalesce(accepted, 0) AS accepted, coalesce(delivered, 0) AS delivered,
       coalesce(undelivered, 0) AS undelivered, coalesce(no_receipt, 0) AS no_receipt, coalesce(uncertain, 0) AS uncertain,
       coalesce(rejected, 0) AS rejected, coalesce(refused, 0) AS refused, coalesce(parts, 0) AS parts,
       coalesce(endpoints, 0) AS endpoints, coalesce(delivered_endpoints, 0) AS delivered_endpoints,
       coalesce(link_endpoints, 0) AS link_endpoints, coalesce(clicked_endpoints, 0) AS clicked_endpoints,
       coalesce(unsure_endpoints, 0) AS unsure_endpoints, coalesce(opened_endpoints, 0) AS opened_endpoints,
       coalesce(replied_endpoints, 0) AS replied_endpoints, coalesce(opted_out_endpoints, 0) AS opted_out_endpoints,
       coalesce(delivered_cases, 0) AS delivered_cases, coalesce(codes_delivered, 0) AS codes_delivered,
       coalesce(converted, 0) AS converted, coalesce(goal_2, 0) AS goal_2, coalesce(goal_3, 0) AS goal_3,
       coalesce(goal_4, 0) AS goal_4, coalesce(orders, 0) AS orders, coalesce(codes_redeemed, 0) AS codes_redeemed,
       coalesce(revenue_gross, 0) AS revenue_gross, coalesce(revenue_net, 0) AS revenue_net
FROM (
    SELECT r.name AS campaign, m.run,
           sum(m.messages) FILTER (WHERE m.state <> 9)::bigint AS attempted,
           sum(m.messages) FILTER (WHERE m.state IN (0, 1, 3, 4, 5, 6, 7, 10))::bigint AS accepted,
           sum(m.messages) FILTER (WHERE m.state = 0)::bigint AS delivered,
           sum(m.messages) FILTER (WHERE m.state IN (5, 6, 7, 10))::bigint AS undelivered,
           sum(m.messages) FILTER (WHERE m.state IN (1, 3, 4))::bigint AS no_receipt,
           sum(m.messages) FILTER (WHERE m.state = 2)::bigint AS uncertain,
           sum(m.messages) FILTER (WHERE m.state = 8)::bigint AS rejected,
           sum(m.messages) FILTER (WHERE m.state = 9)::bigint AS refused, sum(m.segments)::bigint AS parts
    FROM message_day m JOIN run r ON r.id = m.run WHERE NOT m.is_excluded GROUP BY 1, 2
) l FULL JOIN (
    SELECT campaign, run, count(*) AS endpoints, count(*) FILTER (WHERE delivered) AS delivered_endpoints,
           count(*) FILTER (WHERE has_link) AS link_endpoints, count(*) FILTER (WHERE clicked) AS clicked_endpoints,
           count(*) FILTER (WHERE unsure AND NOT clicked) AS unsure_endpoints, count(*) FILTER (WHERE opened) AS opened_endpoints,
           count(*) FILTER (WHERE replied) AS replied_endpoints, count(*) FILTER (WHERE opted_out) AS opted_out_endpoints,
           sum(cases)::bigint AS delivered_cases, sum(codes)::bigint AS codes_delivered
    FROM (
        SELECT campaign, run, bucket, profile, count(*) FILTER (WHERE leads) AS cases, bool_or(delivered_at IS NOT NULL) AS delivered,
               bool_or(has_link AND delivered_at IS NOT NULL) AS has_link, bool_or(clicks <> '{}') AS clicked,
               bool_or(unsure > 0) AS unsure, bool_or(opened_at IS NOT NULL) AS opened,
               bool_or(replies[1] < submitted_at + interval '72 hours') AS replied,
               bool_or(opted_out_at IS NOT NULL) AS opted_out, sum(cardinality(codes)) FILTER (WHERE delivered_at IS NOT NULL) AS codes
        FROM touch WHERE NOT is_excluded GROUP BY campaign, run, bucket, profile) p
    GROUP BY campaign, run
) p USING (campaign, run) FULL JOIN (
    SELECT campaign, run, count(*) FILTER (WHERE place = 1) AS converted, count(*) FILTER (WHERE place = 2) AS goal_2,
           count(*) FILTER (WHERE place = 3) AS goal_3, count(*) FILTER (WHERE place = 4) AS goal_4
    FROM conversion WHERE NOT is_excluded GROUP BY campaign, run
) g USING (campaign, run) FULL JOIN (
    SELECT campaign, run, count(*) AS orders, count(*) FILTER (WHERE rule = 1) AS codes_redeemed,
           sum(gross) FILTER (WHERE is_main)::bigint AS revenue_gross, sum(net) FILTER (WHERE is_main)::bigint AS revenue_net
    FROM attribution WHERE NOT is_excluded GROUP BY campaign, run
) o USING (campaign, run)
) b;

-- The same by whom it was for: the list, the file or the audience that a run was made of.
CREATE OR REPLACE VIEW report_audience AS
SELECT b.*,
       accepted::float8 / nullif(attempted, 0) AS acceptance_rate, delivered::float8 / nullif(accepted, 0) AS delivery_rate,
       undelivered::float8 / nullif(accepted, 0) AS undelivered_rate,
       no_receipt::float8 / nullif(accepted, 0) AS no_receipt_share,
       clicked_endpoints::float8 / nullif(link_endpoints, 0) AS click_rate,
       opened_endpoints::float8 / nullif(link_endpoints, 0) AS page_open_rate,
       replied_endpoints::float8 / nullif(delivered_endpoints, 0) AS response_rate,
       converted::float8 / nullif(delivered_cases, 0) AS conversion_rate,
       codes_redeemed::float8 / nullif(codes_delivered, 0) AS redemption_rate,
       opted_out_endpoints::float8 / nullif(delivered_endpoints, 0) AS unsubscribe_rate,
       revenue_net::float8 / nullif(delivered, 0) AS revenue_per_message,
       revenue_net::float8 / nullif(parts, 0) AS revenue_per_part,
       revenue_net::float8 / nullif(orders, 0) AS average_order_value
FROM (
SELECT campaign, audience,
       coalesce(attempted, 0) AS attempted, coalesce(accepted, 0) AS accepted, coalesce(delivered, 0) AS delivered,
       coalesce(undelivered, 0) AS undelivered, coalesce(no_receipt, 0) AS no_receipt, coalesce(uncertain, 0) AS uncertain,
       coalesce(rejected, 0) AS rejected, coalesce(refused, 0) AS refused, coalesce(parts, 0) AS parts,
       coalesce(endpoints, 0) AS endpoints, coalesce(delivered_endpoints, 0) AS delivered_endpoints,
       coalesce(link_endpoints, 0) AS link_endpoints, coalesce(clicked_endpoints, 0) AS clicked_endpoints,
       coalesce(unsure_endpoints, 0) AS unsure_endpoints, coalesce(opened_endpoints, 0) AS opened_endpoints,
       coalesce(replied_endpoints, 0) AS replied_endpoints, coalesce(opted_out_endpoints, 0) AS opted_out_endpoints,
       coalesce(delivered_cases, 0) AS delivered_cases, coalesce(codes_delivered, 0) AS codes_delivered,
       coalesce(converted, 0) AS converted, coalesce(goal_2, 0) AS goal_2, coalesce(goal_3, 0) AS goal_3,
       coalesce(goal_4, 0) AS goal_4, coalesce(orders, 0) AS orders, coalesce(codes_redeemed, 0) AS codes_redeemed,
       coalesce(revenue_gross, 0) AS revenue_gross, coalesce(revenue_net, 0) AS revenue_net
FROM (
    SELECT r.name AS campaign, coalesce(r.source, '') AS audience,
           sum(m.messages) FILTER (WHERE m.state <> 9)::bigint AS attempted,
           sum(m.messages) FILTER (WHERE m.state IN (0, 1, 3, 4, 5, 6, 7, 10))::bigint AS accepted,
           sum(m.messages) FILTER (WHERE m.state = 0)::bigint AS delivered,
           sum(m.messages) FILTER (WHERE m.state IN (5, 6, 7, 10))::bigint AS undelivered,
           sum(m.messages) FILTER (WHERE m.state IN (1, 3, 4))::bigint AS no_receipt,
           sum(m.messages) FILTER (WHERE m.state = 2)::bigint AS uncertain,
           sum(m.messages) FILTER (WHERE m.state = 8)::bigint AS rejected,
           sum(m.messages) FILTER (WHERE m.state = 9)::bigint AS refused, sum(m.segments)::bigint AS parts
    FROM message_day m JOIN run r ON r.id = m.run WHERE NOT m.is_excluded GROUP BY 1, 2
) l FULL JOIN (
    SELECT campaign, audience, count(*) AS endpoints, count(*) FILTER (WHERE delivered) AS delivered_endpoints,
           count(*) FILTER (WHERE has_link) AS link_endpoints, count(*) FILTER (WHERE clicked) AS clicked_endpoints,
           count(*) FILTER (WHERE unsure AND NOT clicked) AS unsure_endpoints, count(*) FILTER (WHERE opened) AS opened_endpoints,
           count(*) FILTER (WHERE replied) AS replied_endpoints, count(*) FILTER (WHERE opted_out) AS opted_out_endpoints,
           sum(cases)::bigint AS delivered_cases, sum(codes)::bigint AS codes_delivered
    FROM (
        SELECT campaign, audience, bucket, profile, count(*) FILTER (WHERE leads) AS cases, bool_or(delivered_at IS NOT NULL) AS delivered,
               bool_or(has_link AND delivered_at IS NOT NULL) AS has_link, bool_or(clicks <> '{}') AS clicked,
               bool_or(unsure > 0) AS unsure, bool_or(opened_at IS NOT NULL) AS opened,
               bool_or(replies[1] < submitted_at + interval '72 hours') AS replied,
               bool_or(opted_out_at IS NOT NULL) AS opted_out, sum(cardinality(codes)) FILTER (WHERE delivered_at IS NOT NULL) AS codes
        FROM (SELECT x.*, coalesce(r.source, '') AS audience FROM touch x JOIN run r ON r.id = x.run) x WHERE NOT is_excluded GROUP BY campaign, audience, bucket, profile) p
    GROUP BY campaign, audience
) p USING (campaign, audience) FULL JOIN (
    SELECT campaign, audience, count(*) FILTER (WHERE place = 1) AS converted, count(*) FILTER (WHERE place = 2) AS goal_2,
           count(*) FILTER (WHERE place = 3) AS goal_3, count(*) FILTER (WHERE place = 4) AS goal_4
    FROM (SELECT x.*, coalesce(r.source, '') AS audience FROM conversion x JOIN run r ON r.id = x.run) x WHERE NOT is_excluded GROUP BY campaign, audience
) g USING (campaign, audience) FULL JOIN (
    SELECT campaign, audience, count(*) AS orders, count(*) FILTER (WHERE rule = 1) AS codes_redeemed,
           sum(gross) FILTER (WHERE is_main)::bigint AS revenue_gross, sum(net) FILTER (WHERE is_main)::bigint AS revenue_net
    FROM (SELECT x.*, coalesce(r.source, '') AS audience FROM attribution x JOIN run r ON r.id = x.run) x WHERE NOT is_excluded GROUP BY campaign, audience
) o USING (campaign, audience)
) b;

-- The same by variant, of those who are known as persons.
CREATE OR REPLACE VIEW report_variant AS
SELECT b.*,
       clicked_endpoints::float8 / nullif(link_endpoints, 0) AS click_rate,
       opened_endpoints::float8 / nullif(link_endpoints, 0) AS page_open_rate,
       replied_endpoints::float8 / nullif(delivered_endpoints, 0) AS response_rate,
       converted::float8 / nullif(delivered_cases, 0) AS conversion_rate,
       codes_redeemed::float8 / nullif(codes_delivered, 0) AS redemption_rate,
       opted_out_endpoints::float8 / nullif(delivered_endpoints, 0) AS unsubscribe_rate,
       revenue_net::float8 / nullif(orders, 0) AS average_order_value
FROM (
SELECT campaign, variant,
       coalesce(endpoints, 0) AS endpoints, coalesce(delivered_endpoints, 0) AS delivered_endpoints,
       coalesce(link_endpoints, 0) AS link_endpoints, coalesce(clicked_endpoints, 0) AS clicked_endpoints,
       coalesce(unsure_endpoints, 0) AS unsure_endpoints, coalesce(opened_endpoints, 0) AS opened_endpoints,
       coalesce(replied_endpoints, 0) AS replied_endpoints, coalesce(opted_out_endpoints, 0) AS opted_out_endpoints,
       coalesce(delivered_cases, 0) AS delivered_cases, coalesce(codes_delivered, 0) AS codes_delivered,
       coalesce(converted, 0) AS converted, coalesce(goal_2, 0) AS goal_2, coalesce(goal_3, 0) AS goal_3,
       coalesce(goal_4, 0) AS goal_4, coalesce(orders, 0) AS orders, coalesce(codes_redeemed, 0) AS codes_redeemed,
       coalesce(revenue_gross, 0) AS revenue_gross, coalesce(revenue_net, 0) AS revenue_net
FROM (
    SELECT campaign, variant, count(*) AS endpoints, count(*) FILTER (WHERE delivered) AS delivered_endpoints,
           count(*) FILTER (WHERE has_link) AS link_endpoints, count(*) FILTER (WHERE clicked) AS clicked_endpoints,
           count(*) FILTER (WHERE unsure AND NOT clicked) AS unsure_endpoints, count(*) FILTER (WHERE opened) AS opened_endpoints,
           count(*) FILTER (WHERE replied) AS replied_endpoints, count(*) FILTER (WHERE opted_out) AS opted_out_endpoints,
           sum(cases)::bigint AS delivered_cases, sum(codes)::bigint AS codes_delivered
    FROM (
        SELECT campaign, variant, bucket, profile, count(*) FILTER (WHERE leads) AS cases, bool_or(delivered_at IS NOT NULL) AS delivered,
               bool_or(has_link AND delivered_at IS NOT NULL) AS has_link, bool_or(clicks <> '{}') AS clicked,
               bool_or(unsure > 0) AS unsure, bool_or(opened_at IS NOT NULL) AS opened,
               bool_or(replies[1] < submitted_at + interval '72 hours') AS replied,
               bool_or(opted_out_at IS NOT NULL) AS opted_out, sum(cardinality(codes)) FILTER (WHERE delivered_at IS NOT NULL) AS codes
        FROM touch WHERE NOT is_excluded GROUP BY campaign, variant, bucket, profile) p
    GROUP BY campaign, variant
) p FULL JOIN (
    SELECT campaign, variant, count(*) FILTER (WHERE place = 1) AS converted, count(*) FILTER (WHERE place = 2) AS goal_2,
           count(*) FILTER (WHERE place = 3) AS goal_3, count(*) FILTER (WHERE place = 4) AS goal_4
    FROM conversion WHERE NOT is_excluded GROUP BY campaign, variant
) g USING (campaign, variant) FULL JOIN (
    SELECT campaign, variant, count(*) AS orders, count(*) FILTER (WHERE rule = 1) AS codes_redeemed,
           sum(gross) FILTER (WHERE is_main)::bigint AS revenue_gross, sum(net) FILTER (WHERE is_main)::bigint AS revenue_net
    FROM attribution WHERE NOT is_excluded GROUP BY campaign, variant
) o USING (campaign, variant)
) b;

-- Who bought in a month (UTC), in the currency that most revenue is in; new: for the first time. before: in the month before,
-- and stayed: of those.
CREATE OR REPLACE VIEW report_customer_month AS
SELECT b.month, b.buyers, b.new_buyers, b.buyers - b.new_buyers AS returning_buyers, b.orders, b.revenue_gross, b.revenue_net,
       b.buyers_before, b.stayed,
       orders::float8 / nullif(buyers, 0) AS purchase_frequency, revenue_net::float8 / nullif(orders, 0) AS average_order_value,
       (buyers_before - stayed)::float8 / nullif(buyers_before, 0) AS churn_rate
FROM (
    SELECT m.month, m.buyers, m.new_buyers, m.orders, m.revenue_gross, m.revenue_net, m.stayed,
           coalesce(lag(m.buyers) OVER (ORDER BY m.month), 0) AS buyers_before
    FROM (
        SELECT p.month, count(*) AS buyers, count(*) FILTER (WHERE p.first_month = p.month) AS new_buyers,
               count(*) FILTER (WHERE p.before = p.month - interval '1 month') AS stayed,
               sum(p.orders)::bigint AS orders, sum(p.gross)::bigint AS revenue_gross, sum(p.net)::bigint AS revenue_net
        FROM (
            SELECT o.bucket, o.profile, date_trunc('month', o.placed_at AT TIME ZONE 'UTC')::date AS month, count(*) AS orders,
                   sum(o.amount) AS gross,
                   sum(o.amount - coalesce((o.refunded ->> o.currency)::bigint, 0)
                       - CASE WHEN o.currency = '' THEN 0 ELSE coalesce((o.refunded ->> '')::bigint, 0) END) AS net,
                   min(date_trunc('month', min(o.placed_at) AT TIME ZONE 'UTC')::date) OVER (
                       PARTITION BY o.bucket, o.profile) AS first_month,
                   lag(date_trunc('month', o.placed_at AT TIME ZONE 'UTC')::date) OVER (
                       PARTITION BY o.bucket, o.profile
                       ORDER BY date_trunc('month', o.placed_at AT TIME ZONE 'UTC')::date) AS before
            FROM person_order o WHERE o.is_counted
            GROUP BY o.bucket, o.profile, date_trunc('month', o.placed_at AT TIME ZONE 'UTC')::date) p
        GROUP BY p.month) m) b;

-- Of those who bought first in a month (UTC), who bought so many months later, and for how much: retention by cohort.
CREATE OR REPLACE VIEW report_cohort AS
SELECT b.cohort, b.months_later, b.buyers, b.active_buyers, b.orders, b.revenue_net,
       active_buyers::float8 / nullif(buyers, 0) AS retention_rate
FROM (
    SELECT c.cohort, c.months_later, count(*) AS active_buyers, sum(c.orders)::bigint AS orders, sum(c.net)::bigint AS revenue_net,
           first_value(count(*)) OVER (PARTITION BY c.cohort ORDER BY c.months_later) AS buyers
    FROM (
        SELECT p.first_month AS cohort, p.orders, p.net,
               ((extract(year FROM p.month) - extract(year FROM p.first_month)) * 12
                + extract(month FROM p.month) - extract(month FROM p.first_month))::int AS months_later
        FROM (
            SELECT o.bucket, o.profile, date_trunc('month', o.placed_at AT TIME ZONE 'UTC')::date AS month, count(*) AS orders,
                   sum(o.amount - coalesce((o.refunded ->> o.currency)::bigint, 0)
                       - CASE WHEN o.currency = '' THEN 0 ELSE coalesce((o.refunded ->> '')::bigint, 0) END) AS net,
                   min(date_trunc('month', min(o.placed_at) AT TIME ZONE 'UTC')::date) OVER (
                       PARTITION BY o.bucket, o.profile) AS first_month
            FROM person_order o WHERE o.is_counted
            GROUP BY o.bucket, o.profile, date_trunc('month', o.placed_at AT TIME ZONE 'UTC')::date) p) c
    GROUP BY c.cohort, c.months_later) b;

-- Parts that were accepted, by day, carrier, country and end: what the carriers' bills say. Tests are in it.
CREATE OR REPLACE VIEW report_parts_day AS
SELECT m.day, c.name AS carrier, m.country, r.name AS campaign,
       (ARRAY['delivered', 'submitted', 'uncertain', 'no_receipt', 'unknown', 'expired', 'undeliverable', 'rejected', 'rejected',
              'refused', 'partial'])[m.state + 1] AS state,
       sum(m.messages)::bigint AS messages, sum(m.segments)::bigint AS parts
FROM message_day m JOIN run r ON r.id = m.run JOIN carrier c ON c.lane = m.lane
WHERE m.segments > 0 GROUP BY 1, 2, 3, 4, 5;

-- Why messages were not sent, or rejected: by campaign and day.
CREATE OR REPLACE VIEW report_refusal_day AS
SELECT r.name AS campaign, m.day, m.status, sum(m.messages)::bigint AS messages
FROM message_day m JOIN run r ON r.id = m.run
WHERE m.state IN (8, 9) AND NOT m.is_excluded GROUP BY 1, 2, 3;

-- Opt-outs by how many messages a person was sent in that week (UTC): whether too many drive people away.
CREATE OR REPLACE VIEW report_messages_week AS
SELECT b.messages, b.people_weeks, b.opted_out, opted_out::float8 / nullif(people_weeks, 0) AS unsubscribe_rate
FROM (
    SELECT least(w.messages, 8)::int AS messages, count(*) AS people_weeks, count(*) FILTER (WHERE w.opted_out) AS opted_out
    FROM (
        SELECT t.bucket, t.profile, date_trunc('week', t.submitted_at AT TIME ZONE 'UTC') AS week, count(*) AS messages,
               bool_or(t.opted_out_at IS NOT NULL) AS opted_out
        FROM touch t WHERE NOT t.is_excluded
        GROUP BY t.bucket, t.profile, date_trunc('week', t.submitted_at AT TIME ZONE 'UTC')) w
    GROUP BY 1) b;

-- Every order that is owed to a message, and by which rule, one row each.
CREATE OR REPLACE VIEW report_attribution AS
SELECT a.campaign, a.run, a.variant, a.day, a.placed_at, a.profile, a.key AS order_key,
       (ARRAY['coupon', 'click', 'reply', 'delivery'])[a.rule] AS rule, a.gross AS revenue_gross, a.net AS revenue_net, a.currency,
       a.influenced
FROM attribution a WHERE NOT a.is_excluded;
