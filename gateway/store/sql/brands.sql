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

-- name: granted
-- Read who of a bucket has granted a brand, or its programme, promotional texts, sorted.
-- index: consent_state_pkey (bucket, number, brand)
SELECT array_agg(DISTINCT number ORDER BY number) AS numbers FROM consent_state
WHERE bucket = $1::int AND brand = ANY($2::text[]) AND promotional = 2;
