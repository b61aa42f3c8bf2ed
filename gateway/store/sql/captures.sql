-- name: add_capture_request
-- Ask the workers of a carrier for what their binds keep.
-- index: capture_request_pkey
INSERT INTO capture_request (id, carrier, place, redacts, at)
VALUES ($1::uuid, $2::text, $3::int, $4::boolean, $5::timestamptz);

-- name: notify_capture
-- Wake who answers, or who waits for the answers.
-- index: none, there is no table
SELECT pg_notify('sluice_capture', '');

-- name: open_capture_requests
-- List what this worker was asked since a moment and has not answered.
-- index: none, the table is small; capture_pkey
SELECT r.id, r.carrier, r.place, r.redacts FROM capture_request r
WHERE r.at >= $2::timestamptz
  AND NOT EXISTS (SELECT FROM capture c WHERE c.request = r.id AND c.instance = $1::text AND c.bind = '')
ORDER BY r.at;

-- name: add_capture
-- Write down what one bind keeps, or with an empty name that this is all; an answer that nobody waits for any more is none.
-- index: capture_pkey; capture_request_pkey
INSERT INTO capture (request, instance, bind, octets)
SELECT $1::uuid, $2::text, $3::text, $4::bytea FROM capture_request r WHERE r.id = $1::uuid
ON CONFLICT (request, instance, bind) DO NOTHING;

-- name: captures_done
-- Name the workers that have answered.
-- index: capture_pkey
SELECT instance FROM capture WHERE request = $1::uuid AND bind = '';

-- name: captures
-- Read what the binds keep.
-- index: capture_pkey
SELECT instance, bind, octets FROM capture WHERE request = $1::uuid AND bind <> '' ORDER BY instance, bind;

-- name: drop_captures
-- Take away what was answered to a request, and to those made before a moment.
-- index: capture_pkey; capture_request is small
DELETE FROM capture c WHERE c.request = $1::uuid
   OR EXISTS (SELECT FROM capture_request r WHERE r.id = c.request AND r.at < $2::timestamptz);

-- name: drop_capture_requests
-- Take away a request, and those made before a moment.
-- index: none, the table is small
DELETE FROM capture_request WHERE id = $1::uuid OR at < $2::timestamptz;
