-- Texts that are not wanted any more are taken out of the queue at once: the first line of EX-2.

-- Which row of `outgoing` a text was in: so it is found in its lane.
ALTER TABLE step_run ADD COLUMN IF NOT EXISTS outgoing bigint;

-- Into which chunk a lane has put what it took of `outgoing`; forgotten when nothing of it can wait any more.
CREATE TABLE IF NOT EXISTS outgoing_place (
    lane int NOT NULL,
    id bigint NOT NULL,
    chunk_id bigint NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT outgoing_place_pkey PRIMARY KEY (lane, id)
);

-- Texts to be taken out, by enrolment and visit: written in the transaction of that for which they are not wanted, gone
-- when they are out, or were found to be too late for it. reason: gateway.reasons.
CREATE TABLE IF NOT EXISTS unwanted (
    bucket int NOT NULL,
    visit int NOT NULL,
    reason smallint NOT NULL,
    enrolment bigint NOT NULL,
    outgoing bigint NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT unwanted_pkey PRIMARY KEY (bucket, enrolment, visit)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        PERFORM create_distributed_table('unwanted', 'bucket', colocate_with => 'endpoint');
        PERFORM create_distributed_table('outgoing_place', 'lane', colocate_with => 'chunk');
    END IF;
END
$$;
