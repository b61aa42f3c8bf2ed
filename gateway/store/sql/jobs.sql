-- name: take_job
-- Take a job that nobody alive has; -> its epoch, also when it is ours already. No clock is asked: whoever stands in
-- `worker` lives.
-- index: job_pkey; worker_pkey
INSERT INTO job (name, owner, epoch) VALUES ($1::text, $2::text, 1)
ON CONFLICT (name) DO UPDATE
SET owner = excluded.owner, epoch = job.epoch + CASE WHEN job.owner = excluded.owner THEN 0 ELSE 1 END
WHERE job.owner = excluded.owner OR NOT EXISTS (SELECT FROM worker w WHERE w.instance = job.owner)
RETURNING epoch;

-- name: hold_job
-- Keep a job until our transaction ends: whoever takes it over waits. No row: it is another's.
-- index: job_pkey
SELECT epoch FROM job WHERE name = $1::text AND owner = $2::text FOR SHARE;
