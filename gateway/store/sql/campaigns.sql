-- name: hold_campaigns
-- Let nobody else change campaigns until our transaction ends.
-- index: none: an advisory lock
SELECT pg_advisory_xact_lock(728166, 0);

-- name: campaign_named
-- Read how a campaign stands.
-- index: campaign_name_key
SELECT id, name, state, version, live_version, created_at, changed_at, launched_at FROM campaign WHERE name = $1::text;

-- name: all_campaigns
-- Read how every campaign stands.
-- index: none: all of them
SELECT id, name, state, version, live_version, created_at, changed_at, launched_at FROM campaign ORDER BY name;

-- name: add_campaign
-- Keep a campaign by its name.
-- index: campaign_name_key
INSERT INTO campaign (name, version, created_at, changed_at) VALUES ($1::text, 1, $2::timestamptz, $2::timestamptz)
RETURNING id;

-- name: add_campaign_version
-- Keep a version of a campaign.
-- index: campaign_version_pkey
INSERT INTO campaign_version (campaign, version, body, sha256, applied_by, applied_at)
VALUES ($1::bigint, $2::int, $3::text::jsonb, $4::bytea, $5::text, $6::timestamptz);

-- name: set_campaign_version
-- Say which version is the newest one.
-- index: campaign_pkey
UPDATE campaign SET version = $2::int, changed_at = $3::timestamptz WHERE id = $1::bigint;

-- name: campaign_body
-- Read a version of a campaign.
-- index: campaign_version_pkey
SELECT body::text AS body, sha256, applied_by, applied_at FROM campaign_version WHERE campaign = $1::bigint AND version = $2::int;

-- name: set_campaign_state
-- Say how a campaign stands from now on; $3: the version that people enter, NULL as before.
-- index: campaign_pkey
UPDATE campaign
SET state = $2::text, live_version = coalesce($3::int, live_version), changed_at = $4::timestamptz,
    launched_at = CASE WHEN $2::text = 'live' AND launched_at IS NULL THEN $4::timestamptz ELSE launched_at END
WHERE id = $1::bigint;

-- name: clear_listened
-- Have a campaign told of nothing any more.
-- index: none: a few rows of live campaigns
DELETE FROM listened WHERE campaign = $1::bigint;

-- name: add_listened
-- Have a campaign told of some things.
-- index: listened_pkey, as the arbiter
INSERT INTO listened (kind, name, campaign)
SELECT k.kind, k.name, $1::bigint FROM unnest($2::text[], $3::text[]) AS k (kind, name)
ON CONFLICT (kind, name, campaign) DO NOTHING;

-- name: listened_among
-- Say of which of some things a campaign has to be told.
-- index: listened_pkey
SELECT DISTINCT name FROM listened WHERE kind = $1::text AND name = ANY($2::text[]);

-- name: add_campaign_run
-- Note the run that a step's texts go into from now on.
-- index: campaign_run_pkey
INSERT INTO campaign_run (campaign, version, step, run) VALUES ($1::bigint, $2::int, $3::int, $4::bigint);

-- name: campaign_runs
-- Read the runs of a campaign, by version and step, the newest last.
-- index: campaign_run_pkey
SELECT version, step, run FROM campaign_run WHERE campaign = $1::bigint ORDER BY version, step, run;
