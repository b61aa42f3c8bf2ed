-- A doubt stops what is promotional alone (CN-5): a scope of its own.
-- Post: it takes a check away; a worker that knows no such scope stops nothing by it.
ALTER TABLE stop_feed DROP CONSTRAINT IF EXISTS stop_feed_scope_check;
ALTER TABLE stop_feed ADD CONSTRAINT stop_feed_scope_check CHECK (scope IN ('*', 'promotional') OR scope LIKE 'sender:_%');
