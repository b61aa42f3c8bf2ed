-- Consent: what was granted and taken back, as facts that are only added to, and what follows from them. CN-1 to CN-13.
-- Every number has a chain of its own: id counts from 1 without gaps, previous is the hash of the row before. Who appends
-- holds the number's row of consent_head.

-- brand: * = everything, NAME = one brand, NAME/PROGRAMME = one programme of it, sender:NAME = one sender.
-- class all: every one. effective_at is null where nobody knows when; only what takes away may be so.
-- entry: the row of stop_feed that it is the proof of.
CREATE TABLE IF NOT EXISTS consent (
    bucket int NOT NULL,
    id bigint NOT NULL,
    number bigint NOT NULL,
    message_id bigint,
    entry bigint,
    effective_at timestamptz,
    recorded_at timestamptz NOT NULL,
    brand text NOT NULL,
    class text NOT NULL,
    action text NOT NULL,
    source text NOT NULL,
    method text NOT NULL DEFAULT '',
    wording text NOT NULL DEFAULT '',
    wording_version text NOT NULL DEFAULT '',
    url text NOT NULL DEFAULT '',
    ip text NOT NULL DEFAULT '',
    agent text NOT NULL DEFAULT '',
    proof bytea,
    previous bytea NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT consent_pkey PRIMARY KEY (bucket, number, id),
    CONSTRAINT consent_bucket_check CHECK (bucket = ((number # (number >> 8) # (number >> 16) # (number >> 24)) & 255)),
    CONSTRAINT consent_class_check CHECK (class IN ('promotional', 'transactional', 'night', 'all')),
    CONSTRAINT consent_action_check CHECK (action IN ('grant', 'pending', 'confirm', 'revoke', 'suppress', 'release')),
    CONSTRAINT consent_effective_check CHECK (effective_at IS NOT NULL OR action IN ('revoke', 'suppress'))
);

CREATE TABLE IF NOT EXISTS consent_head (
    bucket int NOT NULL,
    number bigint NOT NULL,
    id bigint NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT consent_head_pkey PRIMARY KEY (bucket, number)
) WITH (fillfactor = 85);

-- Derived, and kept in the transaction of the row that it follows from: a rebuild of it finds the same.
-- 0 none, 1 pending, 2 granted, 3 revoked (gateway.campaign.consent). since: when the promotional one became so.
CREATE TABLE IF NOT EXISTS consent_state (
    bucket int NOT NULL,
    promotional smallint NOT NULL,
    transactional smallint NOT NULL,
    night smallint NOT NULL,
    number bigint NOT NULL,
    since timestamptz,
    brand text NOT NULL,
    CONSTRAINT consent_state_pkey PRIMARY KEY (bucket, number, brand)
) WITH (fillfactor = 85);

-- By the pages of a bucket that the gate reads (gateway.gate.page).
CREATE INDEX IF NOT EXISTS consent_state_page
    ON consent_state (bucket, ((number % 1000003 * 48271 % 2147483647) >> 8 & 255), brand);

-- How far the feed of STOPs is in the ledger.
CREATE TABLE IF NOT EXISTS consent_upto (
    id int NOT NULL DEFAULT 1,
    seq bigint NOT NULL DEFAULT 1,
    CONSTRAINT consent_upto_pkey PRIMARY KEY (id),
    CONSTRAINT consent_upto_id_check CHECK (id = 1)
);

INSERT INTO consent_upto (id, seq) VALUES (1, 1) ON CONFLICT (id) DO NOTHING;

-- Why a number is suppressed: the source of the entry of the feed that it comes from.
ALTER TABLE suppression ADD COLUMN IF NOT EXISTS source text;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        PERFORM create_distributed_table('consent', 'bucket', colocate_with => 'endpoint');
        PERFORM create_distributed_table('consent_head', 'bucket', colocate_with => 'endpoint');
        PERFORM create_distributed_table('consent_state', 'bucket', colocate_with => 'endpoint');
    END IF;
END
$$;
