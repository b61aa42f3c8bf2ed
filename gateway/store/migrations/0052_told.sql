-- What is still to be told of persons (EV-11): written with what it tells, by whoever decides it, and taken away when it is told.
CREATE TABLE IF NOT EXISTS person_owed (
    bucket int NOT NULL,
    number bigint NOT NULL,
    at timestamptz NOT NULL,
    name text NOT NULL,
    told text NOT NULL,
    properties jsonb NOT NULL,
    CONSTRAINT person_owed_pkey PRIMARY KEY (bucket, told)
);

ALTER TABLE person_owed SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        PERFORM create_distributed_table('person_owed', 'bucket', colocate_with => 'endpoint');
    END IF;
END
$$;
