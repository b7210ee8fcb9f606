-- The archive: events of users leave the database as files, partition by partition, the oldest first.
--
-- What sources said stays, in a small partition in place of the large one: rules, runs, deliveries, erasures.

-- The files, in order of positions; before the last one's end `events` holds nothing but what sources said.
CREATE TABLE archive_files (
    first         bigint PRIMARY KEY,      -- the first position that it is for
    before        bigint      NOT NULL,    -- the first one that it is no longer for
    partition     text        NOT NULL,    -- of `event_partitions`, whose events are in it; a large one makes several
    name          text        NOT NULL UNIQUE,
    events        bigint      NOT NULL,
    size          bigint      NOT NULL,    -- bytes
    sha256        text        NOT NULL,    -- of the file; its events are proven by `seals`
    recorded_from timestamptz NOT NULL,    -- of its first event …
    recorded_to   timestamptz NOT NULL     -- … and of its last
);

-- What is to be removed once nobody needs it, noted before it is made or while it is still in use: whoever is killed
-- in between leaves nothing that nobody knows of.
CREATE TABLE archive_leftovers (
    name     text        PRIMARY KEY,      -- of a file, or of a table
    is_table boolean     NOT NULL,
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Whose last event lies in an archived stretch.
CREATE INDEX snapshots_position ON snapshots (position);

-- Makes an empty table that can take a partition's place.
CREATE FUNCTION make_substitute(partition text, substitute text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    range event_partitions%ROWTYPE;
BEGIN
    SELECT * INTO STRICT range FROM event_partitions WHERE name = partition;
    EXECUTE format('DROP TABLE IF EXISTS %I', substitute);
    EXECUTE format('CREATE TABLE %I (LIKE events INCLUDING ALL, PRIMARY KEY (stream, version))', substitute);
    -- So that attaching it reads no row.
    EXECUTE format('ALTER TABLE %I ADD CONSTRAINT events_range CHECK (position IS NOT NULL AND position < %s%s)',
                   substitute, range.before,
                   CASE WHEN range.first = (SELECT min(first) FROM event_partitions) THEN ''
                        ELSE format(' AND position >= %s', range.first) END);
    EXECUTE format('CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %I '
                   'FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', substitute);
    EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER events_append_only', substitute);
END
$$;

-- Puts that table in the partition's place -> the name of the one that is no longer any part of `events`.
CREATE FUNCTION replace_partition(partition text, substitute text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detached text := partition || '_detached';
    range    event_partitions%ROWTYPE;
BEGIN
    SELECT * INTO STRICT range FROM event_partitions WHERE name = partition;
    EXECUTE format('ALTER TABLE events DETACH PARTITION %I', partition);
    EXECUTE format('ALTER TABLE %I RENAME TO %I', partition, detached);
    EXECUTE format('ALTER TABLE %I RENAME TO %I', substitute, partition);
    EXECUTE format('ALTER TABLE events ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', partition,
                   CASE WHEN range.first = (SELECT min(first) FROM event_partitions) THEN 'MINVALUE'
                        ELSE range.first::text END, range.before);
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT events_range', partition);
    RETURN detached;
END
$$;

-- The last position recorded up to an instant, 0 before the first. Of what was archived the seals tell it, since every
-- event of it was found under one; of the rest the events themselves, some of which an older version may have written
-- without a seal. `recorded_at` ascends with the position in both.
CREATE OR REPLACE FUNCTION position_at(instant timestamptz) RETURNS bigint LANGUAGE plpgsql STABLE STRICT AS $$
DECLARE
    low    bigint := 0;
    high   bigint;
    middle bigint;
    probe  record;
BEGIN
    SELECT before - 1 AS last, recorded_to INTO probe FROM archive_files
     WHERE events > 0 ORDER BY first DESC LIMIT 1;
    IF FOUND AND instant < probe.recorded_to THEN
        high := probe.last;
        WHILE low < high LOOP
            middle := (low + high + 1) / 2;
            SELECT first_position, last_position, recorded_at INTO probe FROM seals
             WHERE first_position <= middle ORDER BY first_position DESC LIMIT 1;
            IF NOT FOUND OR probe.last_position <= low THEN
                SELECT first_position, last_position, recorded_at INTO probe FROM seals
                 WHERE first_position > low ORDER BY first_position LIMIT 1;
                EXIT WHEN NOT FOUND OR probe.recorded_at > instant;
                low := probe.last_position;
            ELSIF probe.recorded_at <= instant THEN
                low := probe.last_position;
            ELSE
                high := probe.first_position - 1;
            END IF;
        END LOOP;
        RETURN low;
    ELSIF FOUND THEN
        low := probe.last;
    END IF;
    high := coalesce((SELECT position FROM events ORDER BY position DESC LIMIT 1), 0);
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
