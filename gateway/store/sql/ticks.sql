-- name: last_tick
-- Read which occurrence of a campaign was the last one that was carried out, or missed.
-- index: campaign_tick_at
SELECT max(at) FROM campaign_tick WHERE campaign = $1::bigint;

-- name: note_tick
-- Note that an occurrence was carried out, or missed; again it stays as it is.
-- index: campaign_tick_pkey, as the arbiter
INSERT INTO campaign_tick (campaign, key, at, state, people, noted_at)
VALUES ($1::bigint, $2::text, $3::timestamptz, $4::text, $5::bigint, $6::timestamptz)
ON CONFLICT (campaign, key) DO NOTHING;

-- name: ticks_of
-- Read the newest occurrences of a campaign.
-- index: campaign_tick_at
SELECT key, at, state, people FROM campaign_tick WHERE campaign = $1::bigint ORDER BY at DESC LIMIT $2::int;
