-- Scores of those who buy are written bucket by bucket: how far a version is, and since when everybody has it (SG-9).
ALTER TABLE rfm_version ADD COLUMN IF NOT EXISTS upto int NOT NULL DEFAULT 0;

ALTER TABLE rfm_version ADD COLUMN IF NOT EXISTS done_at timestamptz;
