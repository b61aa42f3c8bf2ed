-- A run can be cancelled (sql/cancels.sql): an order of its own, and a note on the run, of when and by whom.
-- Post: it takes a check away; a worker that knows no such order would go on sending.
ALTER TABLE control DROP CONSTRAINT IF EXISTS control_action_check;
ALTER TABLE control ADD CONSTRAINT control_action_check
    CHECK (action IN ('pause', 'resume', 'drain', 'tune', 'rollback', 'reset', 'cancel'));

-- Every worker reads the cancels of the last day, four times a second.
CREATE INDEX IF NOT EXISTS control_cancel ON control (at) WHERE action = 'cancel';

ALTER TABLE run ADD COLUMN IF NOT EXISTS cancelled_at timestamptz;

ALTER TABLE run ADD COLUMN IF NOT EXISTS cancelled_by text;
