-- Erasure (CN-12): who was erased stands in the feed of STOPs and in suppression by a keyed hash, which is a number above all
-- that there are (gateway.erasure). Nobody else has a row for it.

-- The key that it was made with, by a digest: with another key, or none, nobody can say who was erased.
CREATE TABLE IF NOT EXISTS erasure_key (
    id int NOT NULL DEFAULT 1,
    digest bytea NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT erasure_key_pkey PRIMARY KEY (id),
    CONSTRAINT erasure_key_id_check CHECK (id = 1)
);

-- Numbers whose erasure has begun and has not ended: a worker ends it, whoever began it. And those that were erased.
CREATE INDEX IF NOT EXISTS stop_feed_erased ON stop_feed (number) WHERE source = 'erased';
