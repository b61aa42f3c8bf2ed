-- name: ask_call
-- Have another system told of a step; asked again, nothing.
-- index: webhook_call_pkey, as the arbiter
INSERT INTO webhook_call (enrolment, visit, bucket, asked_at, due_at, host, url, step)
VALUES ($1::bigint, $2::int, $3::int, $4::timestamptz, $4::timestamptz, $5::text, $6::text, $7::text)
ON CONFLICT (enrolment, visit) DO NOTHING;

-- name: calls_of
-- Say how far calls of some visits are.
-- index: webhook_call_pkey
SELECT w.enrolment, w.visit, w.state FROM unnest($1::bigint[], $2::int[]) AS k (enrolment, visit)
JOIN webhook_call w ON w.enrolment = k.enrolment AND w.visit = k.visit;

-- name: has_calls
-- Say whether anything is to be called, whenever.
-- index: webhook_call_due
SELECT EXISTS (SELECT FROM webhook_call WHERE due_at IS NOT NULL);

-- name: due_calls
-- Read what is to be called by now, for each host its oldest ones: a slow one takes nobody else's place.
-- index: webhook_call_due: what is due, by host
SELECT c.enrolment, c.visit, c.bucket, c.tries, c.host, c.url, c.step
FROM (SELECT DISTINCT host FROM webhook_call WHERE due_at <= $1::timestamptz) h CROSS JOIN LATERAL (
    SELECT * FROM webhook_call w WHERE w.host = h.host AND w.due_at <= $1::timestamptz ORDER BY w.due_at LIMIT $2::int
) c
ORDER BY c.due_at;

-- name: called
-- Read of enrolments of a bucket what another system is told; who is not under way any more is told of to nobody.
-- index: enrolment_pkey; profile_pkey
SELECT e.id, e.campaign, e.version, e.number, e.cause, e.key, e.anchor_at, e.context::text AS context, p.external_id, p.email
FROM enrolment e LEFT JOIN profile p ON p.bucket = $1::int AND p.id = e.profile
WHERE e.bucket = $1::int AND e.id = ANY($2::bigint[]) AND e.state = 0;

-- name: end_calls
-- Write down what came of calls: told, failed, or to be tried again.
-- index: webhook_call_pkey
UPDATE webhook_call w
SET state = k.state, tries = k.tries, status = k.status, due_at = k.due_at, said = k.said,
    ended_at = CASE WHEN k.state > 0 THEN $1::timestamptz END
FROM unnest($2::bigint[], $3::int[], $4::smallint[], $5::int[], $6::int[], $7::timestamptz[], $8::text[])
     AS k (enrolment, visit, state, tries, status, due_at, said)
WHERE w.enrolment = k.enrolment AND w.visit = k.visit;

-- name: drop_calls
-- Take away calls of whom nobody is told any more.
-- index: webhook_call_pkey
DELETE FROM webhook_call w USING unnest($1::bigint[], $2::int[]) AS k (enrolment, visit)
WHERE w.enrolment = k.enrolment AND w.visit = k.visit;

-- name: wake_enrolments_by_id
-- Have some looked at now, for whom their step has come to something.
-- index: enrolment_pkey
UPDATE enrolment SET due_at = least(due_at, $2::timestamptz)
WHERE bucket = $1::int AND id = ANY($3::bigint[]) AND state = 0;

-- name: forget_calls
-- Forget calls that ended long ago.
-- index: webhook_call_ended
DELETE FROM webhook_call WHERE ended_at < $1::timestamptz;
