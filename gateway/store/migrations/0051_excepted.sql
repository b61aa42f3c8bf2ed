-- Exceptions that met a text: prevented ones and such that came too late. Rules EX-3, EX-5.

-- One row for each text, made or about to be: enrolment and visit. state: 0 open, the text is made and nobody knows yet
-- what becomes of it; 1 prevented; 2 late: it had left when the exception was told. name: of the event; happened_at: by its
-- clock, told_at: when we heard of it. planned_at: when the text was to leave; of an open one when it was made. lane, chunk,
-- pos: of a late one, the message. cancel: 0 not tried, 1 the carrier is asked, 2 it has cancelled, 3 it has not.
CREATE TABLE IF NOT EXISTS excepted (
    bucket int NOT NULL,
    visit int NOT NULL,
    lane int NOT NULL DEFAULT 0,
    pos int NOT NULL DEFAULT 0,
    state smallint NOT NULL,
    cancel smallint NOT NULL DEFAULT 0,
    enrolment bigint NOT NULL,
    profile bigint NOT NULL,
    run bigint NOT NULL DEFAULT 0,
    chunk bigint NOT NULL DEFAULT 0,
    happened_at timestamptz NOT NULL,
    told_at timestamptz NOT NULL,
    planned_at timestamptz NOT NULL,
    found_at timestamptz NOT NULL,
    campaign text NOT NULL,
    name text NOT NULL,
    CONSTRAINT excepted_pkey PRIMARY KEY (bucket, enrolment, visit),
    CONSTRAINT excepted_state_check CHECK (state BETWEEN 0 AND 2)
);

CREATE INDEX IF NOT EXISTS excepted_profile ON excepted (bucket, profile);

CREATE INDEX IF NOT EXISTS excepted_open ON excepted (found_at) WHERE state = 0;

CREATE INDEX IF NOT EXISTS excepted_campaign ON excepted (campaign, found_at);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        PERFORM create_distributed_table('excepted', 'bucket', colocate_with => 'endpoint');
    END IF;
END
$$;

-- What exceptions came to, by campaign and event; lead_s: from the exception to when the text was to leave, in the middle.
-- cancelled, refused: of the late ones, by the carrier, who is asked where it takes that back.
CREATE OR REPLACE VIEW report_exception AS
SELECT campaign, name AS exception, count(*) FILTER (WHERE state = 1)::bigint AS prevented,
       (percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM planned_at - happened_at)::float8)
           FILTER (WHERE state = 1))::float8 AS lead_s,
       count(*) FILTER (WHERE state = 2)::bigint AS late,
       count(*) FILTER (WHERE state = 2 AND cancel = 2)::bigint AS cancelled,
       count(*) FILTER (WHERE state = 2 AND cancel = 3)::bigint AS refused
FROM excepted WHERE state > 0 GROUP BY campaign, name;
