-- name: note_audit
-- Write down who did what for a reason.
-- index: audit_pkey
INSERT INTO audit (at, by, action, about, reason) VALUES ($1::timestamptz, $2::text, $3::text, $4::text, $5::text);

-- name: audit
-- Read what was written down since, the newest first.
-- index: audit_at (at)
SELECT id, at, by, action, about, reason FROM audit WHERE at >= $1::timestamptz ORDER BY at DESC, id DESC LIMIT $2::int;
