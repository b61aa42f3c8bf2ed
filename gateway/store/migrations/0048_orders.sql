-- Orders that people make by text (IN-10), by the bucket of the number. A row begins with the first word of buying, or with the
-- end of an offer that nobody took. state: its place in the list of gateway/campaign/ordering.py; due_at: when the shop is told.
CREATE TABLE IF NOT EXISTS text_order (
    bucket int NOT NULL,
    number bigint NOT NULL,
    enrolment bigint NOT NULL,
    step text NOT NULL,
    visit int NOT NULL,
    conversation bigint NOT NULL,
    campaign text NOT NULL,
    question jsonb NOT NULL,
    state smallint NOT NULL,
    nonce int NOT NULL,
    quantity int NOT NULL,
    price bigint NOT NULL,
    currency text NOT NULL,
    name text NOT NULL,
    address text NOT NULL,
    asked_at timestamptz,
    tried smallint NOT NULL,
    at timestamptz NOT NULL,
    due_at timestamptz,
    tries smallint NOT NULL DEFAULT 0,
    reference text NOT NULL DEFAULT '',
    said text NOT NULL DEFAULT '',
    CONSTRAINT text_order_pkey PRIMARY KEY (bucket, number, enrolment, step, visit)
);

CREATE INDEX IF NOT EXISTS text_order_due ON text_order (bucket, due_at) WHERE due_at IS NOT NULL;

CREATE INDEX IF NOT EXISTS text_order_at ON text_order (bucket, at);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        PERFORM create_distributed_table('text_order', 'bucket', colocate_with => 'endpoint');
    END IF;
END
$$;
