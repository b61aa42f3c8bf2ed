-- Requests for consent that wait for their answer: found when their day is over (CN-4). Those with another state are not in it.
CREATE INDEX IF NOT EXISTS consent_state_pending ON consent_state (bucket, since)
    WHERE 1 IN (promotional, transactional, night);
