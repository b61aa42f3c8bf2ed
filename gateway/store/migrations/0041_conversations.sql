-- What is said between us and a handset, and what waits for an answer: rules IN-1 to IN-10. By the bucket of the number, to
-- which all of it belongs whoever's it is (EV-7).

-- One conversation of a number and an inbox. state: 0 open, 1 snoozed, 2 closed. waits_since: nobody has answered since then.
CREATE TABLE IF NOT EXISTS conversation (
    bucket int NOT NULL,
    id bigint NOT NULL,
    number bigint NOT NULL,
    inbox text NOT NULL,
    brand text NOT NULL,
    sender text NOT NULL,
    lane int NOT NULL,
    state smallint NOT NULL,
    opened_at timestamptz NOT NULL,
    last_in_at timestamptz,
    last_out_at timestamptz,
    closed_at timestamptz,
    snoozed_until timestamptz,
    assigned_to text NOT NULL DEFAULT '',
    assigned_at timestamptz,
    return_at timestamptz,
    waits_since timestamptz,
    answer_due timestamptz,
    late_at timestamptz,
    first_answer_at timestamptz,
    away_at timestamptz,
    misses smallint NOT NULL DEFAULT 0,
    is_handed_over boolean NOT NULL DEFAULT false,
    has_person boolean NOT NULL DEFAULT false,
    campaign text NOT NULL DEFAULT '',
    language text NOT NULL DEFAULT '',
    before bigint,
    CONSTRAINT conversation_pkey PRIMARY KEY (bucket, id)
) WITH (fillfactor = 85);

CREATE INDEX IF NOT EXISTS conversation_number ON conversation (bucket, number, inbox, id);

CREATE INDEX IF NOT EXISTS conversation_open ON conversation (bucket, id) WHERE state < 2;

-- What was said in one. direction: 0 they, 1 a person of ours, 2 by itself, 3 a note that is not sent. key: what it is known by,
-- once: `in:LANE:ID` of what a handset wrote.
CREATE TABLE IF NOT EXISTS conversation_message (
    bucket int NOT NULL,
    number bigint NOT NULL,
    key text NOT NULL,
    conversation bigint NOT NULL,
    at timestamptz NOT NULL,
    direction smallint NOT NULL,
    text text NOT NULL,
    by text NOT NULL DEFAULT '',
    campaign text NOT NULL DEFAULT '',
    CONSTRAINT conversation_message_pkey PRIMARY KEY (bucket, number, key)
);

CREATE INDEX IF NOT EXISTS conversation_message_at ON conversation_message (bucket, conversation, at);

-- A question that waits for its answer; the newest of a number is the one that is answered. question: gateway/question.py.
CREATE TABLE IF NOT EXISTS open_question (
    bucket int NOT NULL,
    number bigint NOT NULL,
    enrolment bigint NOT NULL,
    step text NOT NULL,
    visit int NOT NULL,
    inbox text NOT NULL,
    asked_at timestamptz NOT NULL,
    until timestamptz NOT NULL,
    tried smallint NOT NULL DEFAULT 0,
    campaign text NOT NULL,
    question jsonb NOT NULL,
    CONSTRAINT open_question_pkey PRIMARY KEY (bucket, number, enrolment, step, visit)
);

CREATE INDEX IF NOT EXISTS open_question_until ON open_question (bucket, until);

-- What was decided and is still to be done: a text to be sent, an event to be told. Written with what it follows from, taken away
-- when it is done; what is done twice changes nothing.
CREATE TABLE IF NOT EXISTS conversation_owed (
    bucket int NOT NULL,
    id bigint NOT NULL,
    number bigint NOT NULL,
    due_at timestamptz NOT NULL,
    tries smallint NOT NULL DEFAULT 0,
    body jsonb NOT NULL,
    CONSTRAINT conversation_owed_pkey PRIMARY KEY (bucket, id)
);

CREATE INDEX IF NOT EXISTS conversation_owed_due ON conversation_owed (bucket, due_at);

-- Which of these a lane has taken, so that it takes none a second time.
CREATE TABLE IF NOT EXISTS conversation_sent (
    lane int NOT NULL,
    key bigint NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT conversation_sent_pkey PRIMARY KEY (lane, key)
);

CREATE INDEX IF NOT EXISTS conversation_sent_at ON conversation_sent (lane, at);

-- How far the events of each lane were read for it. What came before there were conversations is none.
CREATE TABLE IF NOT EXISTS replying_upto (
    lane int NOT NULL,
    event bigint NOT NULL,
    CONSTRAINT replying_upto_pkey PRIMARY KEY (lane)
);

CREATE TABLE IF NOT EXISTS replying_begin (
    id int NOT NULL DEFAULT 1,
    at timestamptz NOT NULL,
    CONSTRAINT replying_begin_pkey PRIMARY KEY (id),
    CONSTRAINT replying_begin_id_check CHECK (id = 1)
);

INSERT INTO replying_begin (at) VALUES (now()) ON CONFLICT (id) DO NOTHING;

-- Words that begin something of a campaign, by the inbox that they are written to ('' = any).
CREATE TABLE IF NOT EXISTS keyword_trigger (
    word text NOT NULL,
    inbox text NOT NULL,
    campaign text NOT NULL,
    CONSTRAINT keyword_trigger_pkey PRIMARY KEY (word, inbox, campaign)
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        PERFORM create_distributed_table('conversation', 'bucket', colocate_with => 'endpoint');
        PERFORM create_distributed_table('conversation_message', 'bucket', colocate_with => 'endpoint');
        PERFORM create_distributed_table('open_question', 'bucket', colocate_with => 'endpoint');
        PERFORM create_distributed_table('conversation_owed', 'bucket', colocate_with => 'endpoint');
        PERFORM create_distributed_table('conversation_sent', 'lane', colocate_with => 'chunk');
    END IF;
END
$$;
