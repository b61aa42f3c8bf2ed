-- Sources: lists that are asked of somebody else's Postgres again and again.

-- A query of somebody else's Postgres whose answer is a list (SG-11). dsn is sealed. ran_at: of the last run that was applied.
CREATE TABLE IF NOT EXISTS source (
    name text NOT NULL,
    dsn text NOT NULL,
    query text NOT NULL,
    region text NOT NULL,
    most_rows int NOT NULL,
    timeout_s int NOT NULL,
    list bigint NOT NULL,
    at timestamptz NOT NULL,
    ran_at timestamptz,
    CONSTRAINT source_pkey PRIMARY KEY (name)
);

-- What a run of a source has found, until it is applied in the same transaction.
CREATE TABLE IF NOT EXISTS source_row (
    bucket int NOT NULL,
    list bigint NOT NULL,
    number bigint NOT NULL,
    attributes jsonb NOT NULL,
    CONSTRAINT source_row_pkey PRIMARY KEY (bucket, list, number)
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        PERFORM create_distributed_table('source_row', 'bucket', colocate_with => 'endpoint');
    END IF;
END
$$;
