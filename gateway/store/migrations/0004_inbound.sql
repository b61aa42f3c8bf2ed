-- Messages from handsets, read and whole; the parts that wait for their brothers; what came already; events.
-- `inbound` (0001) stays what it was: each PDU as it came, once.

-- A message, written once, when its last part has come or its missing ones are waited for no longer.
CREATE TABLE IF NOT EXISTS inbound_message (
    lane int NOT NULL,
    id bigint NOT NULL,
    at timestamptz NOT NULL,
    source text NOT NULL,
    destination text NOT NULL,
    text text NOT NULL,
    parts smallint NOT NULL,
    missing smallint[] NOT NULL,
    alphabet text NOT NULL,
    is_lossy boolean NOT NULL,
    pdus bigint[] NOT NULL,
    CONSTRAINT inbound_message_pkey PRIMARY KEY (lane, id)
);

CREATE INDEX IF NOT EXISTS inbound_message_at ON inbound_message (lane, at);

-- Parts whose message is not whole; the octets are in `inbound`. kind: bits of the reference in the header, 1 = SAR TLVs.
CREATE TABLE IF NOT EXISTS inbound_part (
    lane int NOT NULL,
    id bigint NOT NULL,
    at timestamptz NOT NULL,
    source text NOT NULL,
    destination text NOT NULL,
    kind smallint NOT NULL,
    reference int NOT NULL,
    total smallint NOT NULL,
    number smallint NOT NULL,
    CONSTRAINT inbound_part_pkey PRIMARY KEY (lane, id)
);

CREATE INDEX IF NOT EXISTS inbound_part_message ON inbound_part (lane, source, destination, kind, reference, total);

CREATE INDEX IF NOT EXISTS inbound_part_at ON inbound_part (lane, at);

-- What may come once more, because nothing shows that the SMSC has our answer; `is_named` where what came says itself
-- which message it is, so that the same again is a repeat whatever was answered.
CREATE TABLE IF NOT EXISTS inbound_seen (
    lane int NOT NULL,
    fingerprint bytea NOT NULL,
    id bigint NOT NULL,
    at timestamptz NOT NULL,
    is_named boolean NOT NULL,
    CONSTRAINT inbound_seen_pkey PRIMARY KEY (lane, fingerprint)
);

CREATE INDEX IF NOT EXISTS inbound_seen_at ON inbound_seen (lane, at);

-- Events of every kind (gateway/events.py), append-only, numbered by lane without gaps.
CREATE TABLE IF NOT EXISTS event (
    lane int NOT NULL,
    id bigint NOT NULL,
    at timestamptz NOT NULL,
    kind text NOT NULL,
    subject text NOT NULL,
    body jsonb NOT NULL,
    CONSTRAINT event_pkey PRIMARY KEY (lane, id)
);

-- The last number given. Who writes events of a lane holds this row until its COMMIT: numbers become visible in order.
CREATE TABLE IF NOT EXISTS event_number (
    lane int NOT NULL,
    last_id bigint NOT NULL,
    CONSTRAINT event_number_pkey PRIMARY KEY (lane)
) WITH (fillfactor = 50);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        PERFORM create_distributed_table('inbound_message', 'lane', colocate_with => 'chunk');
        PERFORM create_distributed_table('inbound_part', 'lane', colocate_with => 'chunk');
        PERFORM create_distributed_table('inbound_seen', 'lane', colocate_with => 'chunk');
        PERFORM create_distributed_table('event', 'lane', colocate_with => 'chunk');
        PERFORM create_distributed_table('event_number', 'lane', colocate_with => 'chunk');
    END IF;
END
$$;
