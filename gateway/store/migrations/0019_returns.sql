-- Places that are given back: what failed is found by the moment it did.

-- What goes well, nearly everything, stands in none of these. In doubt (-1) is no
-- failure, and what the gate refused (-30 and below) takes no place (CP-2; sql/returns.sql).
CREATE INDEX IF NOT EXISTS outcome_failed ON outcome (lane, at) WHERE status > 0 OR (status < -1 AND status > -30);

CREATE INDEX IF NOT EXISTS receipt_failed ON receipt (lane, at) WHERE state IN (3, 4, 5, 8, 9);
