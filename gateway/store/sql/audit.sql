-- name: note_audit
-- Write down who did what for a reason.
-- index: audit_pkey
INSERT INTO audit (at, by, action, about, reason) VALUES ($1::timestamptz, $2::text, $3::text, $4::text, $5::text);

-- name: audit
-- Read what people have done since, the newest first.
-- index: audit_at (at)
SELECT id, at, by, action, about, reason FROM audit
WHERE at >= $1::timestamptz AND action <> 'data' ORDER BY at DESC, id DESC LIMIT $2::int;

-- name: note_data
-- Write down by which data a run is decided about, unless it stands there. $3 = of which run, $5 = not before. Who asks holds
-- the run, so that of two who decide first one writes.
-- index: audit_at (at)
INSERT INTO audit (at, by, action, about, reason)
SELECT $1::timestamptz, $2::text, 'data', $3::text, $4::text
WHERE NOT EXISTS (
    SELECT FROM audit WHERE at >= $5::timestamptz AND action = 'data' AND about = $3::text AND reason = $4::text
);

-- name: data_of
-- Read by which data a run was decided about, the first first.
-- index: audit_at (at)
SELECT id, at, by, action, about, reason FROM audit
WHERE at >= $1::timestamptz AND action = 'data' AND about = $2::text ORDER BY at, id;
