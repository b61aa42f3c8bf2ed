-- name: forget_answered
-- Drop from what may come again all of which the SMSC has our answer; what names itself stays.
-- index: inbound_seen_pkey
DELETE FROM inbound_seen WHERE lane = $1::int AND fingerprint = ANY($2::bytea[]) AND NOT is_named;

-- name: keep_inbound
-- Keep what came, each PDU once: of what is known since $17 nothing is kept; -> the ids that are new.
-- index: inbound_seen_pkey
WITH came AS (
    SELECT * FROM unnest(
        $2::bigint[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::smallint[], $8::smallint[], $9::bytea[],
        $10::bytea[], $11::bytea[], $12::boolean[], $13::smallint[], $14::int[], $15::smallint[], $16::smallint[]
    ) AS c (id, at, command, source, destination, esm_class, data_coding, octets, pdu, fingerprint, is_named,
            kind, reference, total, number)
), fresh AS (
    INSERT INTO inbound_seen (lane, fingerprint, id, at, is_named)
    SELECT DISTINCT ON (fingerprint) $1::int, fingerprint, id, at, is_named FROM came ORDER BY fingerprint, id
    ON CONFLICT (lane, fingerprint) DO UPDATE SET id = excluded.id, at = excluded.at
    WHERE inbound_seen.at < $17::timestamptz
    RETURNING id
), part AS (
    INSERT INTO inbound_part (lane, id, at, source, destination, kind, reference, total, number)
    SELECT $1::int, c.id, c.at, c.source, c.destination, c.kind, c.reference, c.total, c.number
    FROM came c WHERE c.total > 1 AND c.id IN (SELECT id FROM fresh)
)
INSERT INTO inbound (lane, id, at, command, source, destination, esm_class, data_coding, octets, pdu)
SELECT $1::int, c.id, c.at, c.command, c.source, c.destination, c.esm_class, c.data_coding, c.octets, c.pdu
FROM came c WHERE c.id IN (SELECT id FROM fresh)
RETURNING id;

-- name: parts_beside
-- Read every waiting part of the messages that some parts belong to, in the order they came.
-- index: inbound_part_message; inbound_part_pkey; inbound_pkey
SELECT p.id, p.at, p.source, p.destination, p.kind, p.reference, p.total, p.number, i.esm_class, i.data_coding, i.octets
FROM inbound_part p JOIN inbound i ON i.lane = p.lane AND i.id = p.id
WHERE p.lane = $1::int AND i.lane = $1::int
  AND (p.source, p.destination, p.kind, p.reference, p.total) IN (
      SELECT k.source, k.destination, k.kind, k.reference, k.total FROM inbound_part k
      WHERE k.lane = $1::int AND k.id = ANY($2::bigint[]))
ORDER BY p.at, p.id;

-- name: parts_overdue
-- Name the parts that came before a moment and still wait, the oldest first.
-- index: inbound_part_at
SELECT id FROM inbound_part WHERE lane = $1::int AND at < $2::timestamptz ORDER BY at LIMIT 1000;

-- name: add_messages
-- Write messages down and let go of their parts. $8 and $11 are arrays as text: one of them a message.
-- index: inbound_part_pkey
WITH gone AS (
    DELETE FROM inbound_part WHERE lane = $1::int AND id = ANY($12::bigint[])
)
INSERT INTO inbound_message (lane, id, at, source, destination, text, parts, missing, alphabet, is_lossy, pdus)
SELECT $1::int, c.id, c.at, c.source, c.destination, c.text, c.parts, c.missing::smallint[], c.alphabet, c.is_lossy,
       c.pdus::bigint[]
FROM unnest(
    $2::bigint[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::smallint[], $8::text[], $9::text[],
    $10::boolean[], $11::text[]
) AS c (id, at, source, destination, text, parts, missing, alphabet, is_lossy, pdus);

-- name: forget_seen
-- Drop what came so long ago that it does not come again.
-- index: inbound_seen_at
DELETE FROM inbound_seen WHERE lane = $1::int AND at < $2::timestamptz;

-- name: newest_messages
-- Read the newest messages of a lane.
-- index: inbound_message_at
SELECT id, at, source, destination, text, parts, missing, alphabet, is_lossy, pdus FROM inbound_message
WHERE lane = $1::int ORDER BY at DESC, id DESC LIMIT $2::int;
