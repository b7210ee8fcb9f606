-- Sinks: up to where each has been told, and how it fares.
--
-- Instants are microseconds since the Unix epoch, UTC.

CREATE TABLE sinks (
    name            text COLLATE "C" PRIMARY KEY,
    epoch           text   NOT NULL,            -- of the ledger that the rest of the checkpoint is of
    position        bigint NOT NULL,            -- told of what users' events changed up to there …
    rules_position  bigint NOT NULL,            -- … of what the sources' events changed up to there …
    list_number     bigint NOT NULL,            -- … of who came to its list by changes of lists up to that one …
    at              bigint NOT NULL,            -- … and of what time changed up to then
    revision        bigint NOT NULL DEFAULT 0,  -- of what an operator wants, or a receiver: the leader reads anew
    paused_at       bigint,
    stopped_at      bigint,                     -- the receiver wants no more
    told            bigint NOT NULL DEFAULT 0,  -- changes
    failures        bigint NOT NULL DEFAULT 0,  -- attempts
    last_success_at bigint,
    last_error_at   bigint,
    last_error      text,
    failing_since   bigint
) WITH (fillfactor = 50);

-- What a kind remembers of the users that it has told of.
CREATE TABLE sink_users (
    uid  text COLLATE "C" NOT NULL,
    sink text COLLATE "C" NOT NULL,
    told bytea NOT NULL,
    PRIMARY KEY (uid, sink)
) WITH (fillfactor = 80);
