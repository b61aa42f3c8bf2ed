-- What was said of how fast a run goes, and what of it was granted: gateway/rate.py, sql/rates.sql.
-- A local table: workers take from it what they may send, a few times a second, and it must be there while a node is down.
-- granted: messages in all; credit: those that time has earned since and nobody has taken, as of credit_at.
CREATE TABLE IF NOT EXISTS rate_plan (
    run bigint NOT NULL,
    plan jsonb NOT NULL,
    total bigint NOT NULL DEFAULT 0,
    per_s double precision NOT NULL DEFAULT 0,
    credit double precision NOT NULL DEFAULT 0,
    credit_at timestamptz,
    granted bigint NOT NULL DEFAULT 0,
    goes_to bigint,
    stage smallint NOT NULL DEFAULT 0,
    held_since timestamptz,
    is_told boolean NOT NULL DEFAULT false,
    started_at timestamptz,
    skipped bigint NOT NULL DEFAULT 0,
    spent double precision NOT NULL DEFAULT 0,
    looked_at timestamptz,
    is_over boolean NOT NULL DEFAULT false,
    CONSTRAINT rate_plan_pkey PRIMARY KEY (run)
);

CREATE INDEX IF NOT EXISTS rate_plan_live ON rate_plan (run) WHERE NOT is_over;
