-- What is told by an import, or as history, starts nothing (IM-3, EV-3): of whom nothing else has changed since they were
-- looked at, and who entered or left by it.
ALTER TABLE person_changed ADD COLUMN IF NOT EXISTS is_quiet boolean NOT NULL DEFAULT false;

ALTER TABLE audience_change ADD COLUMN IF NOT EXISTS by_import boolean NOT NULL DEFAULT false;
