-- Messages that the carrier is asked to take back by cancel_sm (EX-3): best effort, before their end.

-- state: 0 to be asked for, 1 taken back in all its parts, 2 not. status: the command_status of a refusal, -1: no answer in
-- time, -2: nothing to ask for, since its end is known, or it never left. tried_at: when somebody began to ask.
CREATE TABLE IF NOT EXISTS unsend (
    lane int NOT NULL,
    pos int NOT NULL,
    status int NOT NULL DEFAULT 0,
    state smallint NOT NULL DEFAULT 0,
    chunk_id bigint NOT NULL,
    made_at timestamptz NOT NULL,
    tried_at timestamptz,
    ended_at timestamptz,
    CONSTRAINT unsend_pkey PRIMARY KEY (lane, chunk_id, pos),
    CONSTRAINT unsend_state_check CHECK (state BETWEEN 0 AND 2)
);

CREATE INDEX IF NOT EXISTS unsend_open ON unsend (lane, made_at) WHERE state = 0;

CREATE INDEX IF NOT EXISTS unsend_made ON unsend (lane, made_at);

CREATE INDEX IF NOT EXISTS excepted_asked ON excepted (bucket) WHERE cancel = 1;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        PERFORM create_distributed_table('unsend', 'lane', colocate_with => 'chunk');
    END IF;
END
$$;
