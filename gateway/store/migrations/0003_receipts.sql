-- Receipts as carriers send them: ids in another form than the response's, numbers turned round, strangers', late ones.

-- How the receipts of a lane are read: what the rule of its ids is, learnt by a worker or set, and what reports have to
-- know of the carrier's settings to say what a message's state is.
CREATE TABLE IF NOT EXISTS receipt_habit (
    lane int NOT NULL,
    id_rule text NOT NULL DEFAULT 'auto',
    learnt_at timestamptz,
    delivered_wins boolean NOT NULL DEFAULT false,
    unknown_is_final boolean NOT NULL DEFAULT false,
    deadline_s double precision,
    CONSTRAINT receipt_habit_pkey PRIMARY KEY (lane),
    CONSTRAINT receipt_habit_rule_check CHECK (id_rule IN ('auto', 'verbatim', 'loose', 'hex', 'decimal'))
);

-- How the state of a message follows from those of its segments (gateway.message.ReceiptPolicy).
ALTER TABLE run ADD COLUMN IF NOT EXISTS receipt_policy text NOT NULL DEFAULT 'worst'
    CONSTRAINT run_receipt_policy_check CHECK (receipt_policy IN ('all', 'any', 'worst', 'last'));

-- Where a receipt came from, when it did not come by itself: 'adopted', 'query'.
ALTER TABLE receipt ADD COLUMN IF NOT EXISTS source text;

-- other = the destination address as a number; the keys are the forms that the id may have in the response, computed by
-- whoever writes the row: id_key without case and leading zeros, as_hex and as_decimal the number it is, written otherwise.
ALTER TABLE receipt_waiting ADD COLUMN IF NOT EXISTS other bigint;

ALTER TABLE receipt_waiting ADD COLUMN IF NOT EXISTS id_key text COLLATE "C";

ALTER TABLE receipt_waiting ADD COLUMN IF NOT EXISTS as_hex text COLLATE "C";

ALTER TABLE receipt_waiting ADD COLUMN IF NOT EXISTS as_decimal text COLLATE "C";

UPDATE receipt_waiting SET id_key = ltrim(lower(message_id COLLATE "C"), '0') WHERE id_key IS NULL;

-- The receipts whose response came on another worker, or before this one started, find their segment by it, whatever the
-- case and the leading zeros of either.
CREATE INDEX IF NOT EXISTS outcome_id_key ON outcome (lane, (ltrim(lower(message_id COLLATE "C"), '0')))
    WHERE message_id IS NOT NULL;

DROP INDEX IF EXISTS outcome_message_id;

-- Receipts that found no segment in days: somebody else's, or of a message that is forgotten.
CREATE TABLE IF NOT EXISTS orphan_receipt (
    lane int NOT NULL,
    at timestamptz NOT NULL,
    number bigint,
    other bigint,
    done_at timestamptz,
    state smallint NOT NULL,
    message_id text NOT NULL,
    err text,
    raw bytea
);

CREATE INDEX IF NOT EXISTS orphan_receipt_at ON orphan_receipt (lane, at);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        PERFORM create_reference_table('receipt_habit');
        PERFORM create_distributed_table('orphan_receipt', 'lane', colocate_with => 'chunk');
    END IF;
END
$$;
