-- What the calendar begins: dates, schedules and silences (TR-1, TR-6, TR-7).

-- An occurrence that was carried out, or was found too late. at: its instant; people: brought to the campaign by it.
CREATE TABLE IF NOT EXISTS campaign_tick (
    campaign bigint NOT NULL,
    key text NOT NULL,
    at timestamptz NOT NULL,
    state text NOT NULL,
    people bigint NOT NULL DEFAULT 0,
    noted_at timestamptz NOT NULL,
    CONSTRAINT campaign_tick_pkey PRIMARY KEY (campaign, key),
    CONSTRAINT campaign_tick_state_check CHECK (state IN ('done', 'missed'))
);

CREATE INDEX IF NOT EXISTS campaign_tick_at ON campaign_tick (campaign, at);
