-- name: gates_of_brand
-- Hold the runs of a brand that may still send at $2, and read what they ask of everybody.
-- index: none, a table of a few thousand rows
SELECT id, name, gate::text AS gate FROM run
WHERE gate ->> 'brand' = $1::text AND (expires_at IS NULL OR expires_at > $2::timestamptz)
ORDER BY id FOR UPDATE;

-- name: write_gate
-- Let a run ask for something else from its next claim on.
-- index: run_pkey
UPDATE run SET gate = $2::text::jsonb WHERE id = $1::bigint;
