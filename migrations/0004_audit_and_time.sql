-- Audit and time: seals over the ledger, the past of users, and the projections that follow the ledger.
--
-- Instants are microseconds since the Unix epoch, UTC, where they are bigint.

-- Seals: one for each run of positions that one commit appended; a chain by first_position.
CREATE TABLE seals (
    first_position bigint      PRIMARY KEY,
    last_position  bigint      NOT NULL,
    recorded_at    timestamptz NOT NULL,  -- of each of its events
    key_id         bytea       NOT NULL,  -- which key made it; the key itself is not in the database
    digests        bytea       NOT NULL,  -- SHA-256 of each event, 32 bytes each, in their order
    seal           bytea       NOT NULL   -- HMAC-SHA-256 over the seal before and all of the above
);
ALTER TABLE seals ALTER COLUMN digests SET STORAGE EXTERNAL;

CREATE TRIGGER seals_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON seals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE seals ENABLE ALWAYS TRIGGER seals_append_only;

-- What the past is looked up by.
CREATE INDEX events_rules ON events (position)
    WHERE kind IN ('configured.v1', 'node_down.v1', 'node_booted.v1', 'node_settled.v1', 'source_dark.v1',
                   'source_lit.v1', 'source_imported.v1');
CREATE INDEX events_bounded ON events (stream, version) WHERE kind IN ('corrected.v1', 'swept.v1');
CREATE INDEX events_signs ON events (stream, position)
    WHERE kind IN ('service_started.v1', 'service_stopped.v1', 'node_down.v1', 'node_booted.v1', 'node_settled.v1',
                   'source_dark.v1', 'source_lit.v1', 'breaker_opened.v1', 'breaker_closed.v1');
CREATE INDEX events_poll ON events ((payload_json(payload) ->> 'poll')) WHERE kind = 'poll_observed.v1';
CREATE INDEX events_repeats ON events ((payload_json(payload) ->> 'repeats'))
    WHERE kind = 'delivery_received.v1' AND payload_json(payload) ? 'repeats';

-- The last position recorded up to an instant, 0 before the first. `recorded_at` ascends with the position, so it is
-- found by halving, and needs no index of its own that every event would pay for.
CREATE FUNCTION position_at(instant timestamptz) RETURNS bigint LANGUAGE plpgsql STABLE STRICT AS $$
DECLARE
    low    bigint := 0;
    high   bigint := coalesce((SELECT position FROM events ORDER BY position DESC LIMIT 1), 0);
    middle bigint;
    probe  record;
BEGIN
    WHILE low < high LOOP
        middle := (low + high + 1) / 2;
        SELECT position, recorded_at INTO probe FROM events WHERE position <= middle ORDER BY position DESC LIMIT 1;
        -- Positions may have gaps, where slices were imported.
        IF NOT FOUND OR probe.position <= low THEN
            SELECT position, recorded_at INTO probe FROM events WHERE position > low ORDER BY position LIMIT 1;
            EXIT WHEN NOT FOUND;
            IF probe.recorded_at <= instant THEN low := probe.position; ELSE EXIT; END IF;
        ELSIF probe.recorded_at <= instant THEN
            low := probe.position;
            IF probe.position < middle THEN
                -- Nothing lies between the probe and the middle.
                SELECT position, recorded_at INTO probe FROM events WHERE position > middle ORDER BY position LIMIT 1;
                EXIT WHEN NOT FOUND OR probe.recorded_at > instant;
                low := probe.position;
            END IF;
        ELSE
            high := probe.position - 1;
        END IF;
    END LOOP;
    RETURN low;
END
$$;

-- The projections that follow the ledger in batches: how far each has come, and where it stopped, if it did.
CREATE TABLE projections (
    name             text   PRIMARY KEY,
    position         bigint NOT NULL DEFAULT 0,
    stopped_position bigint,            -- of the event that it could not take
    stopped_reason   text,
    updated_at       timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO projections (name) VALUES ('timeline'), ('sessions'), ('drift'), ('snapshots');

-- The events that an operator told a projection to leave out.
CREATE TABLE projection_skips (
    name       text        NOT NULL,
    position   bigint      NOT NULL,
    reason     text        NOT NULL,
    skipped_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (name, position)
);

-- `drift` is one of them now: the projection fills its table anew.
TRUNCATE drifts;
-- They are counted by the hours in which they were found.
CREATE INDEX drifts_disagreed ON drifts (disagreed_at);

-- The presence of a user as of each 256th event of his, so that a long past need not be folded from its beginning.
CREATE TABLE snapshots (
    uid      text COLLATE "C" NOT NULL,
    version  bigint NOT NULL,
    position bigint NOT NULL,
    state    bytea  NOT NULL,  -- the presence, MessagePack
    PRIMARY KEY (uid, version)
);

-- An instant as the API shows it.
CREATE FUNCTION instant_text(microseconds bigint) RETURNS text LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT to_char((timestamptz 'epoch' + microseconds * interval '1 microsecond') AT TIME ZONE 'UTC',
                   'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

-- The story of each user: an entry for each event that changed something, one for a run of those that changed nothing.
CREATE TABLE timeline (
    uid           text COLLATE "C" NOT NULL,
    position      bigint NOT NULL,  -- of its first event
    last_position bigint NOT NULL,  -- of its last one, where several are folded
    kind          text   NOT NULL,
    at            bigint NOT NULL,  -- from …
    until         bigint NOT NULL,  -- … to
    entry         bytea  NOT NULL,  -- what the API shows, JSON
    PRIMARY KEY (uid, position)
);

-- When a source was dark or one of its nodes down, so that what was known of its users may have been wrong.
CREATE TABLE in_doubt (
    source        text   NOT NULL,
    position      bigint NOT NULL,  -- of the event that began it
    node          text   NOT NULL,  -- '': the source itself was dark
    at            bigint NOT NULL,  -- from …
    until         bigint,           -- … to
    reason        text   NOT NULL,
    ended_by      text,
    last_position bigint,           -- of the event that ended it
    PRIMARY KEY (source, position, node)
);

-- Sessions with begin and end. Ends are bounds: it ended after `ended_after`, where that is known, and by `ended_at`.
CREATE TABLE sessions (
    uid            text COLLATE "C" NOT NULL,
    position       bigint NOT NULL,  -- of the event that opened it
    ordinal        bigint NOT NULL,  -- among those that the event opened, from 0
    source         text   NOT NULL,
    scope          text   NOT NULL,
    device_flag    bigint,
    conn_id        bigint,
    node           text   NOT NULL,  -- that told of it
    held_by        text,
    opened_at      bigint NOT NULL,
    opened_after   bigint,
    opened_by      text   NOT NULL,  -- the rule, or the effect
    seen_at        bigint NOT NULL,  -- the last evidence of it
    ended_at       bigint,
    ended_after    bigint,
    ended_by       text,             -- the rule, or the effect
    ended_position bigint,
    concurrent     bigint NOT NULL,  -- sessions of the user that were open once it had begun, itself included
    flaps          bigint NOT NULL,  -- sessions of the same device that ended within the minute before it began
    PRIMARY KEY (uid, position, ordinal)
);
-- The open ones, and those that ended lately.
CREATE INDEX sessions_ends ON sessions (uid, ended_at);
