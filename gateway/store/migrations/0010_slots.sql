-- Many workers on one database: who is alive, by a beat that only its owner moves, and who may open which bind.
-- Local tables of the coordinator: they are listened to, and must be there while a node is down.

-- node, place: the process of a place within a node; two living ones of one name are refused. carriers: served and not
-- drained. beat: unchanged for a lease on an observer's own clock = dead. stop_upto: the STOP that it has confirmed.
ALTER TABLE worker ADD COLUMN IF NOT EXISTS node text;

ALTER TABLE worker ADD COLUMN IF NOT EXISTS place int NOT NULL DEFAULT 0;

ALTER TABLE worker ADD COLUMN IF NOT EXISTS carriers text[] NOT NULL DEFAULT '{}';

ALTER TABLE worker ADD COLUMN IF NOT EXISTS beat bigint NOT NULL DEFAULT 0;

ALTER TABLE worker ADD COLUMN IF NOT EXISTS stop_upto bigint NOT NULL DEFAULT 0;

UPDATE worker SET node = instance WHERE node IS NULL;

ALTER TABLE worker ALTER COLUMN node SET NOT NULL;

CREATE UNIQUE INDEX IF NOT EXISTS worker_place ON worker (node, place);

-- One row for each of the binds that an account may have, over all workers. epoch: how often it has changed hands.
-- share: what its owner may send of the account's tps; the sum over a lane is never more than that.
CREATE TABLE IF NOT EXISTS bind_slot (
    lane int NOT NULL,
    slot int NOT NULL,
    owner text,
    epoch bigint NOT NULL DEFAULT 0,
    share int NOT NULL DEFAULT 0,
    CONSTRAINT bind_slot_pkey PRIMARY KEY (lane, slot),
    CONSTRAINT bind_slot_share_check CHECK (share >= 0 AND (share = 0 OR owner IS NOT NULL))
);

-- A chunk belongs to its owner as long as that one lives: a lease of its own says nothing more.
ALTER TABLE chunk DROP COLUMN IF EXISTS lease_until;
