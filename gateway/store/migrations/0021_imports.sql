-- Imports: how far a file is taken in, and sources that are asked again and again.

-- plan: what its columns were taken for; the same file read in another way is another import. as_of: what it tells is of
-- then, so that a repeat tells the same. line: the last one that was taken, with all before it.
CREATE TABLE IF NOT EXISTS import_file (
    sha256 bytea NOT NULL,
    plan bytea NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    line bigint NOT NULL DEFAULT 0,
    as_of timestamptz NOT NULL,
    at timestamptz NOT NULL,
    finished_at timestamptz,
    CONSTRAINT import_file_pkey PRIMARY KEY (sha256, plan)
);
