-- What is watched: how far the members of an audience are judged by what it means now.

-- watch: what its members are judged by, and while it is carried into all of them what by next, and how far that is
-- (gateway.store.watched.Watch). NULL: nobody's membership is kept.
ALTER TABLE audience ADD COLUMN IF NOT EXISTS watch jsonb;
