-- The gate: what it asks of people, in pages, and what it was told of a run.
-- page = 1/256 of a bucket (_fastpath.gate.page): (number % 1000003 * 48271 % 2147483647) >> 8 & 255. What lies in a page is packed,
-- sorted by number, so that one row answers for dozens of people.
-- Post: a worker that does not know of the gate would send what it holds back.

-- Small numbers for names that pages carry. A brand's 0 is "no brand"; a tag is a bit, 0 to 62; a zone's 0 is "by the number".
CREATE TABLE IF NOT EXISTS brand (
    id int NOT NULL,
    name text NOT NULL,
    CONSTRAINT brand_pkey PRIMARY KEY (id),
    CONSTRAINT brand_name_key UNIQUE (name),
    CONSTRAINT brand_id_check CHECK (id BETWEEN 1 AND 32767)
);

CREATE TABLE IF NOT EXISTS tag (
    id int NOT NULL,
    name text NOT NULL,
    CONSTRAINT tag_pkey PRIMARY KEY (id),
    CONSTRAINT tag_name_key UNIQUE (name),
    CONSTRAINT tag_id_check CHECK (id BETWEEN 0 AND 62)
);

CREATE TABLE IF NOT EXISTS zone (
    id int NOT NULL,
    name text NOT NULL,
    CONSTRAINT zone_pkey PRIMARY KEY (id),
    CONSTRAINT zone_name_key UNIQUE (name),
    CONSTRAINT zone_id_check CHECK (id BETWEEN 1 AND 65535)
);

-- Who decides for people of a bucket holds its row until the COMMIT: of two runs that race for the last place under a cap
-- one sees what the other has reserved (CP-3). A local table of the coordinator: rows of several shards are not locked at once.
CREATE TABLE IF NOT EXISTS bucket_gate (
    bucket int NOT NULL,
    CONSTRAINT bucket_gate_pkey PRIMARY KEY (bucket),
    CONSTRAINT bucket_gate_check CHECK (bucket BETWEEN 0 AND 255)
);

INSERT INTO bucket_gate (bucket) SELECT g FROM generate_series(0, 255) AS g ON CONFLICT (bucket) DO NOTHING;

-- Consent as the gate reads it: who of a page has any word for a brand. Written from consent_state, in the transaction that
-- changes that (store/sql/admission.sql: refresh_consent_pages). numbers 8 octets each, states one: bits 0-1 promotional,
-- 2-3 transactional, 4-5 night; zones two each or none at all.
CREATE TABLE IF NOT EXISTS consent_page (
    bucket int NOT NULL,
    page int NOT NULL,
    brand text NOT NULL,
    numbers bytea NOT NULL,
    states bytea NOT NULL,
    zones bytea NOT NULL,
    CONSTRAINT consent_page_pkey PRIMARY KEY (bucket, page, brand)
) WITH (fillfactor = 70);

ALTER TABLE consent_page ALTER COLUMN numbers SET STORAGE EXTERNAL;

-- Who was, or is to be, written to; append-only, by month. kind: 0 due (a run means to write, at = when), 1 reserved (it passed
-- the gate), 2 returned (it did not go after all, CP-2). A later act of a run undoes its earlier one for a number.
CREATE TABLE IF NOT EXISTS contact_page (
    bucket int NOT NULL,
    page int NOT NULL,
    at timestamptz NOT NULL,
    run bigint NOT NULL,
    sender int NOT NULL,
    kind smallint NOT NULL,
    class smallint NOT NULL,
    brand smallint NOT NULL,
    priority smallint NOT NULL,
    tags bigint NOT NULL,
    numbers bytea NOT NULL
) PARTITION BY RANGE (at);

CREATE INDEX IF NOT EXISTS contact_page_at ON contact_page (bucket, page, at);

-- Months are made ahead; what is of another time is here.
CREATE TABLE IF NOT EXISTS contact_page_rest PARTITION OF contact_page DEFAULT;

-- Who was considered for a run and is in none of its chunks: the reason, and the numbers, 8 octets each, sorted.
CREATE TABLE IF NOT EXISTS run_skipped (
    bucket int NOT NULL,
    reason int NOT NULL,
    people int NOT NULL,
    run bigint NOT NULL,
    numbers bytea NOT NULL,
    CONSTRAINT run_skipped_pkey PRIMARY KEY (bucket, run, reason)
);

-- How far a lane was looked through for messages that did not go after all, and give their place back (CP-2).
CREATE TABLE IF NOT EXISTS return_upto (
    lane int NOT NULL,
    outcomes timestamptz NOT NULL,
    receipts timestamptz NOT NULL,
    CONSTRAINT return_upto_pkey PRIMARY KEY (lane)
);

-- What the gate asks of a run (gateway.gate.Gate); NULL: it is not asked.
ALTER TABLE run ADD COLUMN IF NOT EXISTS gate jsonb;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        PERFORM create_reference_table('brand');
        PERFORM create_reference_table('tag');
        PERFORM create_reference_table('zone');
        PERFORM create_distributed_table('consent_page', 'bucket', colocate_with => 'endpoint');
        PERFORM create_distributed_table('contact_page', 'bucket', colocate_with => 'endpoint');
        PERFORM create_distributed_table('run_skipped', 'bucket', colocate_with => 'endpoint');
        PERFORM create_distributed_table('return_upto', 'lane', colocate_with => 'chunk');
    END IF;
END
$$;
