-- What is kept when the rows of single messages go: the final state of each position, and the counts of each run.

-- One row a chunk, an octet a position (from 0). states: 0 to 10 as message_states counts them (sql/results.sql), 254 = the
-- message went on in another chunk, 255 = nothing has come of it yet; segments: what it took, 255 = that many or more.
-- missing: positions that are 255. A thousand alike octets compress to a few dozen.
CREATE TABLE IF NOT EXISTS result (
    lane int NOT NULL,
    chunk_id bigint NOT NULL,
    run bigint NOT NULL,
    n int NOT NULL,
    missing int NOT NULL,
    at timestamptz NOT NULL,
    states bytea NOT NULL,
    segments bytea NOT NULL,
    CONSTRAINT result_pkey PRIMARY KEY (lane, chunk_id)
);

CREATE INDEX IF NOT EXISTS result_run ON result (lane, run);

-- Sums over what was rolled into results. what and key (gateway.store.retention.What):
-- 0 messages and segments by state; 1 messages by status, segments = the most that one needed; 2, 3 segments by time of the
-- response, of the receipt: key = floor(64 ln us); 4 segments of which two different ends were told; 5 segments accepted.
CREATE TABLE IF NOT EXISTS counter (
    lane int NOT NULL,
    run bigint NOT NULL,
    what smallint NOT NULL,
    key int NOT NULL,
    messages bigint NOT NULL,
    segments bigint NOT NULL,
    first_at timestamptz,
    last_at timestamptz,
    CONSTRAINT counter_pkey PRIMARY KEY (lane, run, what, key)
);

CREATE INDEX IF NOT EXISTS counter_run ON counter (run);

-- Work of which there is one for all workers. A job belongs to a worker for as long as that stands in `worker`: who fences
-- the dead frees their jobs. A local table, as `worker` is.
CREATE TABLE IF NOT EXISTS job (
    name text NOT NULL,
    owner text NOT NULL,
    epoch bigint NOT NULL,
    CONSTRAINT job_pkey PRIMARY KEY (name)
);

-- The oldest rows are looked for by time, lane by lane.
CREATE INDEX IF NOT EXISTS inbound_at ON inbound (lane, at);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        PERFORM create_distributed_table('result', 'lane', colocate_with => 'chunk');
        PERFORM create_distributed_table('counter', 'lane', colocate_with => 'chunk');
    END IF;
END
$$;
