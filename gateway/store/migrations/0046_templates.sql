-- Templates by what they say, and whether they were tried; numbers that tests may go to; and what a run is that was one.

-- sha256 of what the document says (dispatch.rendering.sha_of).
CREATE TABLE IF NOT EXISTS template (
    sha256 bytea NOT NULL,
    body jsonb NOT NULL,
    noted_at timestamptz NOT NULL,
    tested_at timestamptz,
    tested_run bigint,
    CONSTRAINT template_pkey PRIMARY KEY (sha256)
);

CREATE TABLE IF NOT EXISTS test_number (
    number bigint NOT NULL,
    added_by text NOT NULL,
    added_at timestamptz NOT NULL,
    CONSTRAINT test_number_pkey PRIMARY KEY (number)
);

-- A test counts nowhere: not in caps, not in what is told of people, not in reports over runs (TP-13).
ALTER TABLE run ADD COLUMN IF NOT EXISTS is_test boolean NOT NULL DEFAULT false;

-- What a template gave for a reason: its words, and how many people each has (TP-2).
ALTER TABLE run_skipped ADD COLUMN IF NOT EXISTS words jsonb NOT NULL DEFAULT '{}';
