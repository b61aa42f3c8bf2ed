-- What came of an experiment in a campaign, arm by arm: whoever was held out has rows of no lane in `touch`, which count here
-- alone (AB-6). people: whom a text was sent to, or would have been; cases: their enrolments; gross, net: of the orders that
-- are hits of the primary goal, in the house's currency.
CREATE OR REPLACE VIEW report_arm AS
SELECT b.campaign, b.variant, b.people, b.cases, b.converted, b.revenue_gross, b.revenue_net,
       converted::float8 / nullif(cases, 0) AS goal_rate
FROM (
    SELECT t.campaign, t.variant, t.people, t.cases, coalesce(g.converted, 0) AS converted,
           coalesce(g.revenue_gross, 0) AS revenue_gross, coalesce(g.revenue_net, 0) AS revenue_net
    FROM (
        SELECT p.campaign, p.variant, count(*) AS people, sum(p.cases)::bigint AS cases
        FROM (
            SELECT campaign, variant, bucket, profile,
                   count(DISTINCT CASE WHEN enrolment <> 0 THEN enrolment ELSE run END) AS cases
            FROM touch WHERE variant <> '' AND (NOT is_excluded OR lane = 0)
            GROUP BY campaign, variant, bucket, profile) p
        GROUP BY p.campaign, p.variant
    ) t LEFT JOIN (
        SELECT campaign, variant, count(*) AS converted, sum(gross)::bigint AS revenue_gross, sum(net)::bigint AS revenue_net
        FROM conversion WHERE variant <> '' AND place = 1 AND (NOT is_excluded OR lane = 0) GROUP BY campaign, variant
    ) g ON g.campaign = t.campaign AND g.variant = t.variant
) b;
