-- Reconciliation: who is to be looked at when, what drifts there were, how the query APIs fare.
--
-- Instants are microseconds since the Unix epoch, UTC.

-- The agenda. `verified_at`, the last look that agreed, is the one fact that no event tells.
CREATE TABLE looks (
    uid         text COLLATE "C" NOT NULL,
    source      text COLLATE "C" NOT NULL,
    due_at      bigint NOT NULL,
    urgent      text,            -- why he is looked at out of turn
    verified_at bigint,
    looked_at   bigint,          -- when the last look was asked
    doubt       bytea,           -- what a second look has still to confirm, MessagePack
    PRIMARY KEY (uid, source)
) WITH (fillfactor = 70);

CREATE INDEX looks_due ON looks (source, due_at);
CREATE INDEX looks_urgent ON looks (source, due_at) WHERE urgent IS NOT NULL;

-- Whoever was known before has his first look in turn.
INSERT INTO looks (uid, source, due_at)
SELECT DISTINCT uid, split_part(token, '/', 1), 0
  FROM current, LATERAL string_to_table(btrim(devices), ' ') AS token
 WHERE token <> '';

-- The end of an answer, its `verified_at` and version, is no longer kept with it. (No text within can hold it: a quote in
-- a JSON string is escaped.)
UPDATE current SET body = substring(body FOR position(',"verified_at":'::bytea IN body) - 1)
 WHERE position(',"verified_at":'::bytea IN body) > 0;

-- How far the agenda has followed the ledger.
CREATE TABLE followers (
    name     text PRIMARY KEY,
    position bigint NOT NULL
);
INSERT INTO followers SELECT 'agenda', coalesce(max(position), 0) FROM events;

-- Drifts, each from the first look that disagreed to its end; written with the events that tell of them.
CREATE TABLE drifts (
    uid             text COLLATE "C" NOT NULL,
    source          text COLLATE "C" NOT NULL,
    position        bigint NOT NULL,  -- of the poll's event that first told of it
    kind            text   NOT NULL,  -- ghost, missed or devices
    state           text   NOT NULL,  -- open, held, corrected, cleared or in_flight
    agreed_at       bigint,           -- it began after this …
    disagreed_at    bigint NOT NULL,  -- … and before this
    ended_at        bigint,
    attributed_to   text,
    run             text   NOT NULL,
    node            text   NOT NULL,
    last_position   bigint NOT NULL,  -- of the poll's event that last told of it
    PRIMARY KEY (uid, source, disagreed_at)
);
CREATE INDEX drifts_position ON drifts (position, uid);
CREATE INDEX drifts_unfinished ON drifts (uid, source) WHERE state IN ('open', 'held');

-- What the leading instance last knew of each node's query API, and of its runs; lost without harm.
CREATE TABLE node_health (
    source text NOT NULL,
    node   text NOT NULL,
    health jsonb NOT NULL,
    PRIMARY KEY (source, node)
);
CREATE TABLE run_progress (
    run    text PRIMARY KEY,
    source text  NOT NULL,
    counts jsonb NOT NULL,
    users  bigint               -- to be looked at in all, where that is known
);

CREATE INDEX events_runs ON events (stream, position) WHERE kind IN ('run_started.v1', 'run_ended.v1');
CREATE INDEX events_run ON events ((payload_json(payload) ->> 'run'))
    WHERE kind IN ('run_started.v1', 'run_ended.v1');
