-- Persons: who they are, what they did, and what follows from it. The rules are EV-1 to EV-11.
-- bucket of a person = the hash of their number, or of their id while no number is known: gaining or changing the number
-- moves the person with all that is theirs. Ids are made by the client, 63 bits; those made later are greater.

-- attribute_at: name -> [occurred, received], microseconds; a name that is only here was taken away (EV-4).
-- first_seen_at … utm_last follow from person_event and are computed anew from it by a rebuild (EV-9). spent: currency -> minor units.
CREATE TABLE IF NOT EXISTS profile (
    bucket int NOT NULL,
    sessions int NOT NULL DEFAULT 0,
    id bigint NOT NULL,
    number bigint,
    orders bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    first_seen_at timestamptz,
    last_seen_at timestamptz,
    session_at timestamptz,
    first_order_at timestamptz,
    last_order_at timestamptz,
    last_click_at timestamptz,
    last_reply_at timestamptz,
    external_id text,
    email text,
    country text,
    language text,
    zone text,
    spent jsonb NOT NULL DEFAULT '{}',
    attributes jsonb NOT NULL DEFAULT '{}',
    attribute_at jsonb NOT NULL DEFAULT '{}',
    utm_first jsonb,
    utm_last jsonb,
    CONSTRAINT profile_pkey PRIMARY KEY (bucket, id),
    CONSTRAINT profile_bucket_check CHECK (
        bucket = ((coalesce(number, id) # (coalesce(number, id) >> 8) # (coalesce(number, id) >> 16)
                   # (coalesce(number, id) >> 24)) & 255)),
    CONSTRAINT profile_country_check CHECK (country ~ '^[A-Z]{2}$')
) WITH (fillfactor = 85);

CREATE INDEX IF NOT EXISTS profile_number ON profile (bucket, number) WHERE number IS NOT NULL;

-- Who is who: a name that a person goes by. A number is none, since several persons may share it: profile_number.
-- bucket = a hash of kind and value (gateway.person.bucket_of).
CREATE TABLE IF NOT EXISTS identity (
    bucket int NOT NULL,
    profile_bucket int NOT NULL,
    profile bigint NOT NULL,
    kind text NOT NULL,
    value text NOT NULL,
    CONSTRAINT identity_pkey PRIMARY KEY (bucket, kind, value),
    CONSTRAINT identity_kind_check CHECK (kind IN ('external_id', 'email', 'anonymous_id'))
);

CREATE INDEX IF NOT EXISTS identity_profile ON identity (profile);

-- What persons did, as it was told; append-only. flags: 1 it lay in the future and was clamped, 2 historical, 4 late, 8 ours.
CREATE TABLE IF NOT EXISTS person_event (
    bucket int NOT NULL,
    flags smallint NOT NULL DEFAULT 0,
    profile bigint NOT NULL,
    id bigint NOT NULL,
    occurred_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    source text NOT NULL,
    event_id text NOT NULL,
    name text NOT NULL,
    properties jsonb NOT NULL DEFAULT '{}'
) PARTITION BY RANGE (occurred_at);

CREATE INDEX IF NOT EXISTS person_event_profile ON person_event (bucket, profile, name, occurred_at);

CREATE INDEX IF NOT EXISTS person_event_name ON person_event (bucket, name, occurred_at);

-- Months are made as they are needed; what is of another time is here.
CREATE TABLE IF NOT EXISTS person_event_rest PARTITION OF person_event DEFAULT;

-- What was taken already, for 30 days at least (EV-1). fingerprint of source and event_id, body of what it said.
CREATE TABLE IF NOT EXISTS event_seen (
    bucket int NOT NULL,
    fingerprint uuid NOT NULL,
    body uuid NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT event_seen_pkey PRIMARY KEY (bucket, fingerprint)
);

CREATE INDEX IF NOT EXISTS event_seen_at ON event_seen USING brin (at) WITH (autosummarize = on);

CREATE TABLE IF NOT EXISTS event_total (
    bucket int NOT NULL,
    profile bigint NOT NULL,
    count bigint NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    name text NOT NULL,
    CONSTRAINT event_total_pkey PRIMARY KEY (bucket, profile, name)
) WITH (fillfactor = 85);

-- An order, from all that was said of it in whatever order: placed, cancelled, refunded. key: its id, or that of the event.
-- amount and currency are those of the latest order_placed (stated_at, stated_id); refunded: currency -> minor units.
-- counted = it is in the aggregates of the person: placed, not cancelled, not refunded as a whole.
CREATE TABLE IF NOT EXISTS person_order (
    bucket int NOT NULL,
    is_cancelled boolean NOT NULL DEFAULT false,
    is_refunded boolean NOT NULL DEFAULT false,
    is_counted boolean NOT NULL DEFAULT false,
    profile bigint NOT NULL,
    amount bigint NOT NULL DEFAULT 0,
    placed_at timestamptz,
    stated_at timestamptz,
    stated_id bigint,
    key text NOT NULL,
    currency text NOT NULL DEFAULT '',
    refunded jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT person_order_pkey PRIMARY KEY (bucket, profile, key)
);

CREATE INDEX IF NOT EXISTS person_order_placed ON person_order (bucket, profile, placed_at) WHERE is_counted;

-- Who is in a session that has not ended, and when to look whether it has (EV-10).
CREATE TABLE IF NOT EXISTS session_open (
    bucket int NOT NULL,
    profile bigint NOT NULL,
    check_at timestamptz NOT NULL,
    CONSTRAINT session_open_pkey PRIMARY KEY (bucket, profile)
);

CREATE INDEX IF NOT EXISTS session_open_check ON session_open (bucket, check_at);

-- Who has changed, and has to be looked at again by what watches. Who looks takes the row away first, in one transaction.
CREATE TABLE IF NOT EXISTS person_changed (
    bucket int NOT NULL,
    profile bigint NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT person_changed_pkey PRIMARY KEY (bucket, profile)
) WITH (fillfactor = 85);

-- What attributes, and properties of events, are called, and the type that they were first seen with (EV-8).
CREATE TABLE IF NOT EXISTS attribute_kind (
    name text NOT NULL,
    kind text NOT NULL,
    seen_at timestamptz NOT NULL,
    CONSTRAINT attribute_kind_pkey PRIMARY KEY (name)
);

CREATE TABLE IF NOT EXISTS event_property_kind (
    event text NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    seen_at timestamptz NOT NULL,
    CONSTRAINT event_property_kind_pkey PRIMARY KEY (event, name)
);

-- How far a lane has been read for the events of ours that persons have (EV-11): what is behind is theirs already.
CREATE TABLE IF NOT EXISTS person_feed (
    lane int NOT NULL,
    kind text NOT NULL,
    upto timestamptz NOT NULL,
    CONSTRAINT person_feed_pkey PRIMARY KEY (lane, kind)
);

-- A file of events and how many of its lines are taken: a repeat goes on there.
CREATE TABLE IF NOT EXISTS event_file (
    sha256 bytea NOT NULL,
    source text NOT NULL,
    lines bigint NOT NULL,
    octets bigint NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT event_file_pkey PRIMARY KEY (sha256, source)
);

-- Where the number is, and how well that is known: zone_source 1 stated … 4 its address (QH-3); kind mobile, fixed …
ALTER TABLE endpoint ADD COLUMN IF NOT EXISTS zone text;

ALTER TABLE endpoint ADD COLUMN IF NOT EXISTS zone_source smallint;

ALTER TABLE endpoint ADD COLUMN IF NOT EXISTS zone_at timestamptz;

ALTER TABLE endpoint ADD COLUMN IF NOT EXISTS kind text;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        PERFORM create_reference_table('attribute_kind');
        PERFORM create_reference_table('event_property_kind');
        PERFORM create_distributed_table('profile', 'bucket', colocate_with => 'endpoint');
        PERFORM create_distributed_table('identity', 'bucket', colocate_with => 'endpoint');
        PERFORM create_distributed_table('person_event', 'bucket', colocate_with => 'endpoint');
        PERFORM create_distributed_table('event_seen', 'bucket', colocate_with => 'endpoint');
        PERFORM create_distributed_table('event_total', 'bucket', colocate_with => 'endpoint');
        PERFORM create_distributed_table('person_order', 'bucket', colocate_with => 'endpoint');
        PERFORM create_distributed_table('session_open', 'bucket', colocate_with => 'endpoint');
        PERFORM create_distributed_table('person_changed', 'bucket', colocate_with => 'endpoint');
    END IF;
END
$$;
