-- Erasure: who was erased, by a keyed hash, and who asked about whom.
--
-- Instants are microseconds since the Unix epoch, UTC.

-- Each erasure, written with its event and with what it removes.
CREATE TABLE erasures (
    position    bigint PRIMARY KEY,      -- of its event
    key_id      bytea  NOT NULL,         -- which seal key the hash was made with
    uid_hash    bytea  NOT NULL,         -- HMAC-SHA-256 of the uid
    at          bigint NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    under_way   text COLLATE "C"         -- the uid, until streams, sinks and Redis have done their part; then null
);
CREATE INDEX erasures_of ON erasures (uid_hash);
CREATE INDEX erasures_under_way ON erasures (position) WHERE under_way IS NOT NULL;

-- An erasure alone removes events or changes them, within the transaction that puts it on record: what it took, its
-- event says, and `verify` holds them to it.
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP IN ('UPDATE', 'DELETE') AND TG_TABLE_NAME <> 'seals'
       AND EXISTS (SELECT FROM erasures
                    WHERE position = nullif(current_setting('presence_ledger.erasure', true), '')::bigint
                      AND xmin = pg_current_xact_id()::xid)
    THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'the ledger is append-only: % on % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation',
              HINT = 'An event is never changed or removed; append a new one that says what is right.';
END
$$;

-- The backups that were made of this database: what was erased since is still in them.
CREATE TABLE backups (
    made_at timestamptz PRIMARY KEY,
    head    bigint NOT NULL
);

-- Who asked about whom, where the settings ask for it: a row for each key, user and route in the second or so of a batch.
CREATE TABLE reads (
    uid      text COLLATE "C" NOT NULL,
    first_at bigint NOT NULL,            -- the first of them …
    key_name text   NOT NULL,            -- the API key's name
    route    text   NOT NULL,
    batch    uuid   NOT NULL,
    last_at  bigint NOT NULL,            -- … and the last
    number   bigint NOT NULL,
    PRIMARY KEY (uid, first_at, key_name, route, batch)
);
CREATE INDEX reads_first_at ON reads (first_at);
