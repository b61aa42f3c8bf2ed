-- name: take_turn
-- Hold the lane's place in the row of those who write events, until this transaction ends.
-- index: event_number_pkey
INSERT INTO event_number (lane, last_id) VALUES ($1::int, 0)
ON CONFLICT (lane) DO UPDATE SET last_id = event_number.last_id;

-- name: add_events
-- Append events under the next numbers of their lane. $6 = how many they are.
-- index: event_number_pkey
WITH turn AS (
    INSERT INTO event_number (lane, last_id) VALUES ($1::int, $6::bigint)
    ON CONFLICT (lane) DO UPDATE SET last_id = event_number.last_id + excluded.last_id
    RETURNING last_id
)
INSERT INTO event (lane, id, at, kind, subject, body)
SELECT $1::int, t.last_id - $6::bigint + c.place, c.at, c.kind, c.subject, c.body
FROM turn t
CROSS JOIN unnest($2::timestamptz[], $3::text[], $4::text[], $5::jsonb[]) WITH ORDINALITY AS c (at, kind, subject, body, place);

-- name: notify_events
-- Wake who listens for events; it looks by itself what there is.
-- index: none, it reads no table
SELECT pg_notify('sluice_event', $1::int::text);

-- name: events_after
-- Read the events of a lane behind the last one that the reader has seen, in their order.
-- index: event_pkey
SELECT id, at, kind, subject, body FROM event
WHERE lane = $1::int AND id > $2::bigint ORDER BY id LIMIT $3::int;

-- name: last_event
-- Find the number of a lane's newest event; 0 if there is none.
-- index: event_number_pkey
SELECT coalesce((SELECT last_id FROM event_number WHERE lane = $1::int), 0);
