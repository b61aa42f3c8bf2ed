-- The queue: carriers and runs, chunks and their payload, outcomes, receipts.
-- lane = one carrier account, the first column of every key of what is hot.

CREATE TABLE IF NOT EXISTS carrier (
    lane int NOT NULL,
    name text NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT carrier_pkey PRIMARY KEY (lane),
    CONSTRAINT carrier_name_key UNIQUE (name)
);

-- One execution of a campaign. `policy` decides on segments whose answer never came (gateway.message.Policy).
CREATE TABLE IF NOT EXISTS run (
    id bigint NOT NULL,
    name text NOT NULL,
    template text NOT NULL,
    fields text[] NOT NULL,
    class smallint NOT NULL,
    priority smallint NOT NULL,
    policy text NOT NULL,
    lanes int[] NOT NULL,
    list bigint,
    source text,
    recipients bigint NOT NULL DEFAULT 0,
    not_before timestamptz NOT NULL,
    expires_at timestamptz,
    created_at timestamptz NOT NULL,
    enqueued_at timestamptz,
    CONSTRAINT run_pkey PRIMARY KEY (id),
    CONSTRAINT run_policy_check CHECK (policy IN ('once', 'at_least_once', 'ask'))
);

-- A worker process: what it has claimed is given up when it is known to be dead.
CREATE TABLE IF NOT EXISTS worker (
    instance text NOT NULL,
    host text NOT NULL,
    boot text NOT NULL,
    pid int NOT NULL,
    started_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    report jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT worker_pkey PRIMARY KEY (instance)
);

-- The only hot table that is updated: about three times in the life of 1000 messages, and once a step of the watermark.
-- fillfactor leaves room for HOT updates of sent_upto and lease_until, which stand in no index.
CREATE TABLE IF NOT EXISTS chunk (
    lane int NOT NULL,
    id bigint NOT NULL,
    run bigint NOT NULL,
    n int NOT NULL,
    class smallint NOT NULL,
    priority smallint NOT NULL,
    state smallint NOT NULL DEFAULT 0,
    epoch int NOT NULL DEFAULT 0,
    sent_upto int NOT NULL DEFAULT 0,
    not_before timestamptz NOT NULL,
    first_claimed_at timestamptz,
    lease_until timestamptz,
    owner text,
    repeats bigint,
    CONSTRAINT chunk_pkey PRIMARY KEY (lane, id),
    CONSTRAINT chunk_sent_upto_check CHECK (sent_upto >= 0 AND sent_upto <= n)
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05);

CREATE INDEX IF NOT EXISTS chunk_ready ON chunk (lane, class, priority, id) WHERE state = 0;

CREATE INDEX IF NOT EXISTS chunk_claimed ON chunk (lane, id) WHERE state = 1;

CREATE INDEX IF NOT EXISTS chunk_run ON chunk (lane, run);

-- Written once, read once. Numbers and field values leave as the octets of a COPY and are not compressed on the way in.
CREATE TABLE IF NOT EXISTS chunk_payload (
    lane int NOT NULL,
    chunk_id bigint NOT NULL,
    run bigint NOT NULL,
    msisdn bigint[] NOT NULL,
    params text[],
    CONSTRAINT chunk_payload_pkey PRIMARY KEY (lane, chunk_id)
);

ALTER TABLE chunk_payload ALTER COLUMN msisdn SET STORAGE EXTERNAL;

ALTER TABLE chunk_payload ALTER COLUMN params SET STORAGE EXTERNAL;

-- What came of a segment: command_status of the response, or a reason of ours below 0 (gateway.message.Refusal).
-- Append-only. A segment may have several rows: one in doubt (-1), later the answer that came late.
CREATE TABLE IF NOT EXISTS outcome (
    chunk_id bigint NOT NULL,
    at timestamptz NOT NULL,
    lane int NOT NULL,
    pos int NOT NULL,
    epoch int NOT NULL,
    status int NOT NULL,
    rtt_us int NOT NULL,
    segment smallint NOT NULL,
    segments smallint NOT NULL,
    message_id text
) PARTITION BY RANGE (at);

-- The receipts whose response came on another worker, or before this one started, find their segment by it.
CREATE INDEX IF NOT EXISTS outcome_message_id ON outcome (lane, message_id) WHERE message_id IS NOT NULL;

CREATE INDEX IF NOT EXISTS outcome_in_doubt ON outcome (lane, chunk_id) WHERE status = -1;

-- Outcomes of a chunk stand close together, since its messages leave one after another: a summary of each 256 kB finds
-- them, at a hundredth of what a B-tree costs.
CREATE INDEX IF NOT EXISTS outcome_chunk ON outcome USING brin (chunk_id) WITH (pages_per_range = 32, autosummarize = on);

-- Receipts that belong to a segment. Append-only; which one counts is decided when it is read (sql/results.sql).
CREATE TABLE IF NOT EXISTS receipt (
    chunk_id bigint NOT NULL,
    at timestamptz NOT NULL,
    lane int NOT NULL,
    pos int NOT NULL,
    number bigint,
    done_at timestamptz,
    segment smallint NOT NULL,
    state smallint NOT NULL,
    message_id text,
    err text,
    raw bytea
) PARTITION BY RANGE (at);

-- Receipts of which no segment is known yet: early ones, another worker's, other people's.
CREATE TABLE IF NOT EXISTS receipt_waiting (
    lane int NOT NULL,
    at timestamptz NOT NULL,
    number bigint,
    done_at timestamptz,
    state smallint NOT NULL,
    message_id text NOT NULL,
    err text,
    raw bytea
);

CREATE INDEX IF NOT EXISTS receipt_waiting_at ON receipt_waiting (lane, at);

-- Positions in doubt that were sent again, under at_least_once; their messages are counted in the repeating chunk.
CREATE TABLE IF NOT EXISTS repeated (
    lane int NOT NULL,
    chunk_id bigint NOT NULL,
    pos int NOT NULL,
    by_chunk bigint NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT repeated_pkey PRIMARY KEY (lane, chunk_id, pos)
);

-- Messages from handsets, before anybody reads them.
CREATE TABLE IF NOT EXISTS inbound (
    lane int NOT NULL,
    id bigint NOT NULL,
    at timestamptz NOT NULL,
    command text NOT NULL,
    source text NOT NULL,
    destination text NOT NULL,
    esm_class smallint NOT NULL,
    data_coding smallint NOT NULL,
    octets bytea NOT NULL,
    pdu bytea NOT NULL,
    CONSTRAINT inbound_pkey PRIMARY KEY (lane, id)
);

-- One row a flush: a worker that lost its connection in the COMMIT finds out here whether it was carried out.
CREATE TABLE IF NOT EXISTS flush (
    lane int NOT NULL,
    id bigint NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT flush_pkey PRIMARY KEY (lane, id)
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        PERFORM create_reference_table('carrier');
        PERFORM create_reference_table('run');
        PERFORM create_distributed_table('chunk', 'lane', colocate_with => 'none');
        PERFORM create_distributed_table('chunk_payload', 'lane', colocate_with => 'chunk');
        PERFORM create_distributed_table('outcome', 'lane', colocate_with => 'chunk');
        PERFORM create_distributed_table('receipt', 'lane', colocate_with => 'chunk');
        PERFORM create_distributed_table('receipt_waiting', 'lane', colocate_with => 'chunk');
        PERFORM create_distributed_table('repeated', 'lane', colocate_with => 'chunk');
        PERFORM create_distributed_table('inbound', 'lane', colocate_with => 'chunk');
        PERFORM create_distributed_table('flush', 'lane', colocate_with => 'chunk');
    END IF;
END
$$;
