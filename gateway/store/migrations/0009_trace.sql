-- What came of one message is found among ten million in a moment: receipts of a chunk stand close together, since its
-- messages leave one after another, and a summary of each 256 kB finds them.
CREATE INDEX IF NOT EXISTS receipt_chunk ON receipt USING brin (chunk_id) WITH (pages_per_range = 32, autosummarize = on);
