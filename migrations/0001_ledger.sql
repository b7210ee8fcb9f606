-- The ledger: every event once, in the order of its commit; and the states folded from it.
--
-- Instants in `payload` and `since` are microseconds since the Unix epoch, UTC; the views show them as timestamps.
-- Per-user tables have the user first in their key and no constraint leaves him out, so that they can be distributed by
-- user; no foreign key ties the ledger to its projections.

CREATE TABLE events (
    stream      text COLLATE "C" NOT NULL,  -- 'user:' and a uid, or 'source:' and a source's name
    version     bigint           NOT NULL,  -- place in the stream, from 1
    position    bigint           NOT NULL,  -- place in the whole ledger, from 1, without gaps
    kind        text COLLATE "C" NOT NULL,  -- such as webhook_observed.v1
    payload     bytea            NOT NULL,  -- JSON
    recorded_at timestamptz      NOT NULL,  -- of its commit; ascends with position
    PRIMARY KEY (stream, version)
);

CREATE INDEX events_position ON events (position);

-- Payloads are UTF-8 whatever the database's encoding, so that the conversion is as immutable as they are.
CREATE FUNCTION payload_json(payload bytea) RETURNS jsonb LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT convert_from(payload, 'UTF8')::jsonb $$;

-- A delivery is asked for by its id; only its own event carries the index.
CREATE INDEX events_delivery ON events ((payload_json(payload) ->> 'delivery'))
    WHERE kind IN ('delivery_received.v1', 'body_rejected.v1');

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only: % on % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation',
              HINT = 'An event is never changed or removed; append a new one that says what is right.';
END
$$;

CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
-- Not even a session that plays a replica may pass.
ALTER TABLE events ENABLE ALWAYS TRIGGER events_append_only;

-- The inline projection: each user's presence as of his last event, written in that event's transaction.
CREATE TABLE current (
    uid     text COLLATE "C" PRIMARY KEY,
    version bigint NOT NULL,
    status  text   NOT NULL,  -- by evidence, the grace period aside: online or offline
    since   bigint NOT NULL,  -- microseconds
    devices text   NOT NULL,  -- ' source/flag/on/node source/flag/off/ ', for filters and counts
    state   bytea  NOT NULL,  -- the presence, MessagePack
    body    bytea  NOT NULL   -- what the API answers where no grace period and no doubt changes it, JSON
) WITH (fillfactor = 70);

-- Snapshots of the sources' states; the events after `version` complete them.
CREATE TABLE source_states (
    source         text PRIMARY KEY,
    version        bigint NOT NULL,
    rules_position bigint NOT NULL,  -- of the last event that changed what the status shown is derived from
    state          bytea  NOT NULL   -- JSON
);

-- For people with psql.
CREATE VIEW ledger_events AS
    SELECT position, stream, version, kind, recorded_at,
           to_timestamp((body ->> 'received_at')::numeric / 1000000) AS received_at,
           body ->> 'verdict' AS verdict, body ->> 'rule' AS rule, body ->> 'raw' AS raw, body AS payload
      FROM events, LATERAL (SELECT payload_json(payload) AS body) AS decoded;

CREATE VIEW current_presence AS
    SELECT uid, status, to_timestamp(since::numeric / 1000000) AS since, version, devices FROM current;
