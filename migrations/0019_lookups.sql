-- Look-ups that statements make once for each of many users, as functions: PostgreSQL puts their text into the statement
-- that calls them, so they cost nothing. On a Citus cluster, where such a statement cannot be spread over the workers,
-- `migrate --distribute` has each of them ask the one worker that knows instead.
--
-- They name the tables without a schema, and find what the caller would: a view with archived events, a rebuild's table.

-- The last event, of which everybody who asks for the head sees all before it.
CREATE FUNCTION last_event() RETURNS TABLE ("position" bigint, recorded_at timestamptz)
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
    AS $$ SELECT position, recorded_at FROM events ORDER BY position DESC LIMIT 1 $$;

CREATE OR REPLACE FUNCTION next_partition_size() RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT least(greatest((coalesce((SELECT position FROM last_event()), 0) - position_at(now() - interval '7 days')
                           + 999999) / 1000000, 1), 1000) * 1000000
$$;

-- The same from the last seal, without a look into each partition.
CREATE FUNCTION last_sealed() RETURNS TABLE ("position" bigint, recorded_at timestamptz)
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
    AS $$ SELECT last_position, recorded_at FROM seals ORDER BY first_position DESC LIMIT 1 $$;

-- The last event from a position on: what an older version has written without a seal. Under the commit lock.
CREATE FUNCTION last_event_from(first bigint) RETURNS TABLE ("position" bigint, recorded_at timestamptz)
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
    AS $$ SELECT position, recorded_at FROM events WHERE position >= first ORDER BY position DESC LIMIT 1 $$;

-- The first event after a position.
CREATE FUNCTION next_event(after bigint) RETURNS TABLE ("position" bigint, recorded_at timestamptz)
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
    AS $$ SELECT position, recorded_at FROM events WHERE position > after ORDER BY position LIMIT 1 $$;

-- The event of a delivery, if the ledger has it.
CREATE FUNCTION event_of_delivery(delivery text) RETURNS TABLE ("position" bigint)
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
    AS $$ SELECT position FROM events
           WHERE payload_json(payload) ->> 'delivery' = delivery
             AND kind IN ('delivery_received.v1', 'body_rejected.v1') LIMIT 1 $$;

-- The event that ended a run.
CREATE FUNCTION end_of_run(run text, after bigint) RETURNS TABLE ("position" bigint, payload bytea)
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
    AS $$ SELECT position, payload FROM events
           WHERE kind IN ('run_started.v1', 'run_ended.v1') AND kind = 'run_ended.v1'
             AND payload_json(payload) ->> 'run' = run AND position > after LIMIT 1 $$;

CREATE FUNCTION first_event_of(stream text) RETURNS TABLE (version bigint, "position" bigint)
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
    AS $$ SELECT version, position FROM events AS e WHERE e.stream = $1 ORDER BY version LIMIT 1 $$;

-- The last event of a stream up to a position.
CREATE FUNCTION last_event_of(stream text, up_to bigint DEFAULT 9223372036854775807)
    RETURNS TABLE (version bigint, "position" bigint, recorded_at timestamptz)
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
    AS $$ SELECT version, position, recorded_at FROM events AS e
           WHERE e.stream = $1 AND position <= up_to ORDER BY version DESC LIMIT 1 $$;

-- The next events of a stream after a version, up to a position.
CREATE FUNCTION events_after(stream text, after bigint, up_to bigint, number bigint)
    RETURNS TABLE (version bigint, "position" bigint, kind text, payload bytea)
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 10
    AS $$ SELECT version, position, kind, payload FROM events AS e
           WHERE e.stream = $1 AND version > after AND position <= up_to ORDER BY version LIMIT number $$;

-- The same, of those alone that bound when a session ended.
CREATE FUNCTION bounds_after(stream text, after bigint, up_to bigint, number bigint)
    RETURNS TABLE (version bigint, "position" bigint, kind text, payload bytea)
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 10
    AS $$ SELECT version, position, kind, payload FROM events AS e
           WHERE e.stream = $1 AND version > after AND position <= up_to AND kind IN ('corrected.v1', 'swept.v1')
           ORDER BY version LIMIT number $$;

-- A user's first version beyond a position; events lie in the order of their versions, so it is looked for from the last
-- snapshot before that on.
CREATE FUNCTION first_version_beyond(uid text, beyond bigint) RETURNS TABLE (version bigint)
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
    AS $$ SELECT version FROM events
           WHERE stream = 'user:' || uid AND position > beyond
             AND version > coalesce((SELECT version FROM snapshots AS s WHERE s.uid = $1 AND position <= beyond
                                      ORDER BY version DESC LIMIT 1), 0)
           ORDER BY version LIMIT 1 $$;

-- A user's last snapshot before a version, and as of a position; and the first one after a position.
CREATE FUNCTION snapshot_before(uid text, before bigint) RETURNS TABLE (version bigint, state bytea)
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
    AS $$ SELECT version, state FROM snapshots AS s
           WHERE s.uid = $1 AND s.version < before ORDER BY version DESC LIMIT 1 $$;

CREATE FUNCTION snapshot_at(uid text, up_to bigint) RETURNS TABLE (version bigint, "position" bigint, state bytea)
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
    AS $$ SELECT version, position, state FROM snapshots AS s
           WHERE s.uid = $1 AND position <= up_to ORDER BY version DESC LIMIT 1 $$;

CREATE FUNCTION snapshot_after(uid text, after bigint) RETURNS TABLE (version bigint)
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
    AS $$ SELECT version FROM snapshots AS s
           WHERE s.uid = $1 AND position > after ORDER BY version LIMIT 1 $$;

-- Snapshots after a position and up to another.
CREATE FUNCTION snapshots_between(after bigint, up_to bigint)
    RETURNS TABLE (uid text, version bigint, "position" bigint)
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 100
    AS $$ SELECT uid, version, position FROM snapshots WHERE position > after AND position <= up_to $$;

-- The streams of users that have events after a position, as often as they have.
CREATE FUNCTION user_streams_after(after bigint) RETURNS TABLE (stream text)
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000
    AS $$ SELECT stream FROM events WHERE position > after AND starts_with(stream, 'user:') $$;

CREATE FUNCTION drifts_of(uid text)
    RETURNS TABLE (source text, "position" bigint, kind text, state text, agreed_at bigint, disagreed_at bigint,
                   ended_at bigint, attributed_to text, run text, node text, last_position bigint)
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 10
    AS $$ SELECT source, position, kind, state, agreed_at, disagreed_at, ended_at, attributed_to, run, node,
                 last_position
            FROM drifts AS d WHERE d.uid = $1 $$;
