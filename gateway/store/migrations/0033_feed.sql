-- What the gateway itself tells of persons (EV-11): what came since a moment is found by it.

-- Rows are appended in the order of their time, so a summary of each 256 kB finds them at next to no cost.
CREATE INDEX IF NOT EXISTS outcome_at ON outcome USING brin (at) WITH (pages_per_range = 32, autosummarize = on);

CREATE INDEX IF NOT EXISTS receipt_at ON receipt USING brin (at) WITH (pages_per_range = 32, autosummarize = on);
