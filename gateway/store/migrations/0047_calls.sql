-- Steps that tell another system (WF-10): asked for by a campaign, called by one worker, kept until nobody asks any more.

-- state: 0 to be called, 1 told, 2 failed for good. due_at: of the next try; NULL: there is none. enrolment and visit
-- name it for good; what is told is read of the enrolment when it is told, so that nothing of a person stands here.
CREATE TABLE IF NOT EXISTS webhook_call (
    enrolment bigint NOT NULL,
    visit int NOT NULL,
    bucket int NOT NULL,
    state smallint NOT NULL DEFAULT 0,
    tries int NOT NULL DEFAULT 0,
    status int NOT NULL DEFAULT 0,
    asked_at timestamptz NOT NULL,
    due_at timestamptz,
    ended_at timestamptz,
    host text NOT NULL,
    url text NOT NULL,
    step text NOT NULL DEFAULT '',
    said text NOT NULL DEFAULT '',
    CONSTRAINT webhook_call_pkey PRIMARY KEY (enrolment, visit)
);

CREATE INDEX IF NOT EXISTS webhook_call_due ON webhook_call (host, due_at) WHERE due_at IS NOT NULL;

CREATE INDEX IF NOT EXISTS webhook_call_ended ON webhook_call (ended_at) WHERE ended_at IS NOT NULL;
