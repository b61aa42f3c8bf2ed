-- What somebody wants to see of the wire, and what the workers have answered. Small and short-lived: rows are taken away by
-- who asked, and by any worker after some minutes. Not logged, for a crash may lose them and they hold texts that no backup
-- should. On the coordinator alone: nothing joins them.
CREATE UNLOGGED TABLE IF NOT EXISTS capture_request (
    id uuid NOT NULL,
    carrier text NOT NULL,
    -- of the account, from 1; NULL: all of them
    place int,
    redacts boolean NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT capture_request_pkey PRIMARY KEY (id)
);

-- One row a bind (gateway.smpp.capture.pack), and one with an empty name when the worker has nothing more to say.
CREATE UNLOGGED TABLE IF NOT EXISTS capture (
    request uuid NOT NULL,
    instance text NOT NULL,
    bind text NOT NULL,
    octets bytea NOT NULL,
    CONSTRAINT capture_pkey PRIMARY KEY (request, instance, bind)
);
