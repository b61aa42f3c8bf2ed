-- Who does not want to be written to: the feed of STOPs as they came, and what follows from it by number.
-- The feed is append-only and is never dropped: whatever is restored or imported, it is replayed over it.
-- Local tables of the coordinator: they are listened to, and must take a STOP while a node is down.
-- seq counts without gaps in the order of the COMMITs, from 2 on, since its row here is held from the first number to the COMMIT.
CREATE TABLE IF NOT EXISTS stop_head (
    id int NOT NULL DEFAULT 1,
    seq bigint NOT NULL DEFAULT 1,
    CONSTRAINT stop_head_pkey PRIMARY KEY (id),
    CONSTRAINT stop_head_id_check CHECK (id = 1)
);

INSERT INTO stop_head (id, seq) VALUES (1, 1) ON CONFLICT (id) DO NOTHING;

-- scope: '*' = everything, 'sender:NAME' = one sender as the handset sees it. source: keyword, command, import, api.
CREATE TABLE IF NOT EXISTS stop_feed (
    seq bigint NOT NULL,
    number bigint NOT NULL,
    at timestamptz NOT NULL,
    is_stop boolean NOT NULL,
    scope text NOT NULL,
    source text NOT NULL,
    note text NOT NULL DEFAULT '',
    CONSTRAINT stop_feed_pkey PRIMARY KEY (seq),
    CONSTRAINT stop_feed_number_check CHECK (number > 0),
    CONSTRAINT stop_feed_scope_check CHECK (scope = '*' OR scope LIKE 'sender:_%')
);

CREATE INDEX IF NOT EXISTS stop_feed_number ON stop_feed (number, seq);

-- What is suppressed, by number, on every node: for joins, as a first sieve, and for a quick start of a worker. Kept by a
-- job from the feed up to suppression_upto.seq; the feed is the last word.
CREATE TABLE IF NOT EXISTS suppression (
    number bigint NOT NULL,
    scope text NOT NULL,
    since bigint NOT NULL,
    CONSTRAINT suppression_pkey PRIMARY KEY (number, scope)
);

CREATE TABLE IF NOT EXISTS suppression_upto (
    id int NOT NULL DEFAULT 1,
    seq bigint NOT NULL DEFAULT 1,
    CONSTRAINT suppression_upto_pkey PRIMARY KEY (id),
    CONSTRAINT suppression_upto_id_check CHECK (id = 1)
);

INSERT INTO suppression_upto (id, seq) VALUES (1, 1) ON CONFLICT (id) DO NOTHING;

-- How far the sets of a worker have followed the feed, at least 1; NULL or 0 until they are loaded.
ALTER TABLE worker ADD COLUMN IF NOT EXISTS stop_upto bigint;

-- Workers that did not confirm a STOP in time: their lease is not renewed, and acknowledgements wait until it is over.
CREATE TABLE IF NOT EXISTS stop_fenced (
    instance text NOT NULL,
    CONSTRAINT stop_fenced_pkey PRIMARY KEY (instance)
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        PERFORM create_reference_table('suppression');
    END IF;
END
$$;
