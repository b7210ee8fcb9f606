-- Canaries: users of our own who come to a node and go, so that it shows whether its webhooks come.
--
-- Instants are microseconds since the Unix epoch, UTC.

CREATE TABLE canaries (
    uid             text COLLATE "C" NOT NULL,  -- in no count, no list and no stream of everybody while it is here
    source          text   NOT NULL,
    node            text   NOT NULL,
    since           bigint NOT NULL,            -- when the leading instance took it up
    every_seconds   double precision NOT NULL,
    visits          bigint NOT NULL DEFAULT 0,
    lost            bigint NOT NULL DEFAULT 0,  -- webhooks
    last_visit_at   bigint,
    last_success_at bigint,
    failing_since   bigint,                     -- the first visit that failed since the last success
    last_error_at   bigint,
    last_error      text,
    outcome         text,                       -- of the last visit
    webhook_seconds double precision,           -- of the last online: from the socket until its webhook was here,
    commit_seconds  double precision,           -- until it was committed,
    stream_seconds  double precision,           -- until a stream told of it
    PRIMARY KEY (uid, source, node)
) WITH (fillfactor = 50);
