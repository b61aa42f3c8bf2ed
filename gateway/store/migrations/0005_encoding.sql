-- What a run asks for beside its text: flash, octets, ports (gateway.message.Encoding).

ALTER TABLE run ADD COLUMN IF NOT EXISTS encoding jsonb NOT NULL DEFAULT '{}';
