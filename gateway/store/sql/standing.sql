-- name: standing
-- Say which history this server writes and how far it is on disk; on a standby, how far it was replayed. What our role lacks
-- to read where timelines were left comes as the statement that a superuser grants it by. xid_age: of the oldest transaction
-- that rows of any database still bear, at 2,144 million the server takes no more.
-- index: none, it reads a catalog of a few rows
SELECT (SELECT system_identifier FROM pg_control_system()) AS system,
       CASE WHEN pg_is_in_recovery() THEN '' ELSE substr(pg_walfile_name(pg_current_wal_flush_lsn()), 1, 8) END AS timeline,
       (CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_replay_lsn(), '0/0'::pg_lsn)
             ELSE pg_current_wal_flush_lsn() END - '0/0'::pg_lsn)::bigint AS lsn,
       pg_is_in_recovery() AS is_standby, current_setting('server_version_num')::int AS version,
       current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes,
       current_setting('synchronous_commit') AS synchronous_commit,
       CASE WHEN has_function_privilege('pg_catalog.pg_read_file(text)', 'EXECUTE') THEN ''
            ELSE format('GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO %I', current_user) END AS missing_grant,
       current_database()::text AS database,
       (SELECT max(greatest(age(datfrozenxid), mxid_age(datminmxid))) FROM pg_database) AS xid_age;

-- name: timeline_history
-- Read where a timeline left the one before it, for each that came before; needs EXECUTE on pg_read_file.
-- index: none, it reads no table
SELECT pg_read_file('pg_wal/' || $1::text || '.history');

-- name: bloated
-- Find tables of ours with more than $1 dead rows, and $2 times as many as living ones, by what the server counts; the worst
-- first. On a cluster that is what stands on the coordinator.
-- index: none, it reads counters of a few tables
SELECT relname::text AS name, n_dead_tup AS dead, n_live_tup AS live
FROM pg_stat_user_tables
WHERE schemaname = current_schema() AND n_dead_tup > $1::bigint AND n_dead_tup > $2::bigint * n_live_tup
ORDER BY n_dead_tup DESC, relname LIMIT 5;
