-- Two more things that a person may say go on: sending after a failover that lost history (key: the history that is accepted,
-- store/standing.py), and a wall clock that has jumped.
ALTER TABLE control DROP CONSTRAINT IF EXISTS control_scope_check;

ALTER TABLE control ADD CONSTRAINT control_scope_check
    CHECK (scope IN ('carrier', 'campaign', 'country', 'sender', 'failover', 'clock'));
