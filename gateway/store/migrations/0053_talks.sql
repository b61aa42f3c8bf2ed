-- Conversations that people of ours have taken over, of a bucket: what is promotional waits for them at the gate (IN-7).
CREATE INDEX IF NOT EXISTS conversation_person ON conversation (bucket, closed_at) WHERE has_person;
