-- name: make_consent_heads
-- Make the heads of numbers that have none; somebody who makes one meanwhile is waited for.
-- index: consent_head_pkey, as the arbiter
INSERT INTO consent_head (bucket, number, id, hash)
SELECT $1::int, number, 0, $3::bytea FROM unnest($2::bigint[]) AS c (number) ORDER BY number
ON CONFLICT (bucket, number) DO NOTHING;

-- name: hold_consent_heads
-- Let nobody else append to these numbers before this transaction ends; in one order, so that two who append wait for no ring.
-- index: consent_head_pkey
SELECT number, id, hash FROM consent_head WHERE bucket = $1::int AND number = ANY($2::bigint[]) ORDER BY number FOR UPDATE;

-- name: consent_rows
-- Read all rows of some numbers, in the order of their chains.
-- index: consent_pkey
SELECT number, id, brand, class, action, source, recorded_at, effective_at, method, wording, wording_version, url, ip, agent,
       message_id, entry, proof, previous, hash
FROM consent WHERE bucket = $1::int AND number = ANY($2::bigint[]) ORDER BY number, id;

-- name: append_consents
-- Append rows to their chains; octets come as hexadecimal digits, times as microseconds.
-- index: consent_pkey
INSERT INTO consent (bucket, number, id, brand, class, action, source, recorded_at, effective_at, method, wording,
                     wording_version, url, ip, agent, message_id, entry, proof, previous, hash)
SELECT $1::int, c.number, c.id, c.brand, c.class, c.action, c.source,
       timestamptz 'epoch' + c.recorded_us * interval '1 microsecond',
       timestamptz 'epoch' + c.effective_us * interval '1 microsecond',
       c.method, c.wording, c.wording_version, c.url, c.ip, c.agent, c.message_id, c.entry, decode(c.proof, 'hex'),
       decode(c.previous, 'hex'), decode(c.hash, 'hex')
FROM jsonb_to_recordset($2::jsonb) AS c (
    number bigint, id bigint, brand text, class text, action text, source text, recorded_us bigint, effective_us bigint,
    method text, wording text, wording_version text, url text, ip text, agent text, message_id bigint, entry bigint,
    proof text, previous text, hash text);

-- name: move_consent_heads
-- Note the last row of each chain.
-- index: consent_head_pkey
UPDATE consent_head h SET id = c.id, hash = c.hash
FROM unnest($2::bigint[], $3::bigint[], $4::bytea[]) AS c (number, id, hash)
WHERE h.bucket = $1::int AND h.number = c.number;

-- name: keep_consent_states
-- Write what follows from the rows of some numbers.
-- index: consent_state_pkey, as the arbiter
INSERT INTO consent_state (bucket, number, brand, promotional, transactional, night, since)
SELECT $1::int, number, brand, promotional, transactional, night, since
FROM unnest($2::bigint[], $3::text[], $4::smallint[], $5::smallint[], $6::smallint[], $7::timestamptz[])
     AS c (number, brand, promotional, transactional, night, since)
ON CONFLICT (bucket, number, brand) DO UPDATE
SET promotional = excluded.promotional, transactional = excluded.transactional, night = excluded.night,
    since = excluded.since;

-- name: consent_states
-- Read how some numbers stand.
-- index: consent_state_pkey
SELECT number, brand, promotional, transactional, night, since
FROM consent_state WHERE bucket = $1::int AND number = ANY($2::bigint[]) ORDER BY number, brand;

-- name: consent_heads
-- Read the heads of a bucket, a page at a time.
-- index: consent_head_pkey
SELECT number, id, hash FROM consent_head
WHERE bucket = $1::int AND number > $2::bigint ORDER BY number LIMIT $3::int;

-- name: consent_heads_of
-- Read the heads of some numbers.
-- index: consent_head_pkey
SELECT number, id, hash FROM consent_head WHERE bucket = $1::int AND number = ANY($2::bigint[]);

-- name: consent_upto
-- Find how far the feed is in the ledger.
-- index: consent_upto_pkey
SELECT seq FROM consent_upto WHERE id = 1;

-- name: stops_to_prove
-- Read the entries of the feed that the ledger has not yet. Of an erasure it proves the pseudonym's, never the number's.
-- index: stop_feed_pkey
SELECT seq, number, at, is_stop, scope, source, note FROM stop_feed
WHERE seq > $1::bigint AND (source <> 'erased' OR number >= 4611686018427387904) ORDER BY seq LIMIT $2::int;

-- name: note_consent_upto
-- Note how far the feed is in the ledger.
-- index: consent_upto_pkey
UPDATE consent_upto SET seq = greatest(seq, $1::bigint) WHERE id = 1;

-- name: is_ledger_behind
-- Say whether the feed has entries that the ledger has not.
-- index: consent_upto_pkey, stop_head_pkey
SELECT (SELECT seq FROM stop_head WHERE id = 1) > (SELECT seq FROM consent_upto WHERE id = 1);

-- name: unanswered
-- Name who of a bucket stands as asked, and was asked before a moment.
-- index: consent_state_pending (bucket, since); those with a request alone are in it
SELECT DISTINCT number FROM consent_state
WHERE bucket = $1::int AND 1 IN (promotional, transactional, night) AND (since IS NULL OR since <= $2::timestamptz)
  AND number > $3::bigint
ORDER BY number LIMIT $4::int;
