-- Requests for consent that wait for their answer: found when their day is over (CN-4). Those with another state are not in it.
CREATE INDEX IF NOT EXISTS consent_state_pending ON consent_state (bucket, since)
    WHERE 1 IN (promotional, transactional, night);

-- Who was suppressed for a reason, for what time lifts.
CREATE INDEX IF NOT EXISTS suppression_source ON suppression (source, number);

-- Messages whose carrier has said that there is no such number: so many, and it is suppressed. A message counts once.
CREATE TABLE IF NOT EXISTS strike (
    bucket int NOT NULL,
    lane int NOT NULL,
    number bigint NOT NULL,
    chunk_id bigint NOT NULL,
    at timestamptz NOT NULL,
    pos int NOT NULL,
    kind text NOT NULL,
    CONSTRAINT strike_pkey PRIMARY KEY (bucket, number, kind, lane, chunk_id, pos)
);

-- How far the answers of a lane were read for those that suppress.
CREATE TABLE IF NOT EXISTS block_upto (
    lane int NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT block_upto_pkey PRIMARY KEY (lane)
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        PERFORM create_distributed_table('strike', 'bucket', colocate_with => 'endpoint');
        PERFORM create_distributed_table('block_upto', 'lane', colocate_with => 'chunk');
    END IF;
END
$$;
