-- name: audiences_to_watch
-- Read every audience, whether it is to be watched, and how far it is.
-- index: none: all of them
SELECT id, name, tree::text AS tree, zone, version, is_watched, watch::text AS watch FROM audience ORDER BY id;

-- name: set_watched
-- Have an audience watched, or no more.
-- index: audience_name_key
UPDATE audience SET is_watched = $2::boolean, updated_at = $3::timestamptz WHERE name = $1::text;

-- name: note_watch
-- Write down how far an audience is carried into its members.
-- index: audience_pkey
UPDATE audience SET watch = $2::jsonb WHERE id = $1::bigint;

-- name: note_watched
-- Write down that all members of an audience are judged by a version of it.
-- index: audience_pkey
UPDATE audience SET watch = $2::jsonb, watched_version = $3::int, refreshed_at = $4::timestamptz WHERE id = $1::bigint;

-- name: is_anything_watched
-- Say whether anybody's membership is kept, or about to be.
-- index: none: all of them
SELECT EXISTS (SELECT FROM audience WHERE is_watched OR watch IS NOT NULL);

-- name: due_members
-- Name some whom time alone may have changed by now.
-- index: audience_member_next
SELECT DISTINCT profile FROM audience_member
WHERE bucket = $1::int AND next_change_at <= $2::timestamptz AND audience = ANY($3::bigint[]) ORDER BY profile LIMIT $4::int;

-- name: mark_persons
-- Have persons looked at, and let nobody else change them before our transaction ends.
-- index: person_changed_pkey, as the arbiter
INSERT INTO person_changed (bucket, profile, at)
SELECT $1::int, k.profile, $3::timestamptz FROM unnest($2::bigint[]) AS k (profile) ORDER BY k.profile
ON CONFLICT (bucket, profile) DO UPDATE SET at = excluded.at;

-- name: mark_numbers
-- Have those looked at who have one of some numbers: something has changed about the number.
-- index: profile_number; person_changed_pkey, as the arbiter
INSERT INTO person_changed (bucket, profile, at, is_quiet)
SELECT $1::int, p.id, $3::timestamptz, $4::boolean FROM profile p
WHERE p.bucket = $1::int AND p.number = ANY($2::bigint[]) ORDER BY p.id
ON CONFLICT (bucket, profile) DO UPDATE
SET at = excluded.at, is_quiet = person_changed.is_quiet AND excluded.is_quiet;

-- name: mark_list
-- Have those of a bucket looked at whose number is in a list.
-- index: list_entry_pkey; profile_number; person_changed_pkey, as the arbiter
INSERT INTO person_changed (bucket, profile, at, is_quiet)
SELECT $1::int, p.id, $3::timestamptz, $4::boolean FROM list_entry e JOIN profile p ON p.bucket = $1::int AND p.number = e.number
WHERE e.bucket = $1::int AND e.list = $2::bigint ORDER BY p.id
ON CONFLICT (bucket, profile) DO UPDATE
SET at = excluded.at, is_quiet = person_changed.is_quiet AND excluded.is_quiet;

-- name: hold_page
-- Hold the next persons of a bucket in the order of their ids, whoever changes them meanwhile is waited for; -> who.
-- index: profile_pkey; person_changed_pkey, as the arbiter
INSERT INTO person_changed (bucket, profile, at)
SELECT $1::int, p.id, $3::timestamptz FROM profile p
WHERE p.bucket = $1::int AND p.id > $2::bigint ORDER BY p.id LIMIT $4::int
ON CONFLICT (bucket, profile) DO UPDATE SET at = excluded.at
RETURNING profile;

-- name: take_page
-- Take the marks of persons away who are about to be looked at.
-- index: person_changed_pkey
DELETE FROM person_changed WHERE bucket = $1::int AND profile = ANY($2::bigint[])
RETURNING profile, is_quiet;

-- name: take_changed
-- Take some who have changed, past those whom somebody changes right now; who changes them next waits for our transaction.
-- index: person_changed_pkey
DELETE FROM person_changed
WHERE bucket = $1::int
  AND profile = ANY(ARRAY(SELECT c.profile FROM person_changed c
                          WHERE c.bucket = $1::int ORDER BY c.profile LIMIT $2::int FOR UPDATE SKIP LOCKED))
RETURNING profile, is_quiet;

-- name: persons_there
-- Say which of some persons are there.
-- index: profile_pkey
SELECT id FROM profile WHERE bucket = $1::int AND id = ANY($2::bigint[]);

-- name: drop_members
-- Drop the memberships of persons who are there no more.
-- index: audience_member_pkey
DELETE FROM audience_member WHERE bucket = $1::int AND audience = ANY($2::bigint[]) AND profile = ANY($3::bigint[]);

-- name: add_changes
-- Append who entered an audience and who left it.
-- index: audience_change_pkey
INSERT INTO audience_change (bucket, seq, audience, profile, at, version, is_in, by_edit, by_import)
SELECT $1::int, k.seq, $2::bigint, k.profile, $3::timestamptz, $4::int, k.is_in, $5::boolean, k.by_import
FROM unnest($6::bigint[], $7::int[], $8::boolean[], $9::boolean[]) AS k (profile, seq, is_in, by_import);

-- name: write_members
-- Write who is in an audience, and when each has to be looked at again.
-- index: audience_member_pkey, as the arbiter
INSERT INTO audience_member (bucket, seq, audience, profile, since, next_change_at, is_in)
SELECT $1::int, k.seq, $2::bigint, k.profile, k.since, k.next_change_at, k.is_in
FROM unnest($3::bigint[], $4::int[], $5::timestamptz[], $6::timestamptz[], $7::boolean[])
     AS k (profile, seq, since, next_change_at, is_in)
ON CONFLICT (bucket, audience, profile) DO UPDATE
SET seq = excluded.seq, since = excluded.since, next_change_at = excluded.next_change_at, is_in = excluded.is_in;

-- name: members_in
-- Count who is in an audience.
-- index: audience_member_pkey: of each bucket those of the audience
SELECT count(*) FROM audience_member WHERE audience = $1::bigint AND is_in AND bucket BETWEEN 0 AND 255;
