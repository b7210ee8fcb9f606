-- The ledger in partitions: each table `events_from_…` holds the events of a range of positions.
--
-- A version is unique in its stream by the key of each partition, and over all of them by the commit lock under which it
-- is counted; `verify` holds the ledger to that. A key of the whole would have to have the position in it.

-- Which there are, in order; after the last one there is no room. Written with each partition, so that a commit knows
-- how much room it has without looking into the catalogue.
CREATE TABLE event_partitions (
    first  bigint PRIMARY KEY,  -- the first position that it is for; the first partition also takes all before it
    before bigint NOT NULL,     -- the first one that it is no longer for
    name   text   NOT NULL UNIQUE
);

-- How many positions the next partition is for: as many as the last seven days brought, so that a ledger of months is
-- in some tens of them at any pace.
CREATE FUNCTION next_partition_size() RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT least(greatest((coalesce((SELECT max(position) FROM events), 0) - position_at(now() - interval '7 days')
                           + 999999) / 1000000, 1), 1000) * 1000000
$$;

-- Makes `events`, a plain table, the first partition of a table of that name, which its rows need not be read for where
-- the CHECK of its room is valid. Whoever reads or writes waits for it; grants and views stay.
CREATE FUNCTION partition_events() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    room    bigint := (SELECT before FROM event_partitions ORDER BY first DESC LIMIT 1);
    holder  name;
    indexes text[];
    views   text[];
    grants  text[];
    each    record;
    step    text;
BEGIN
    LOCK TABLE events IN ACCESS EXCLUSIVE MODE;
    IF (SELECT relkind FROM pg_class WHERE oid = 'events'::regclass) = 'p' THEN
        RETURN;  -- somebody else did
    END IF;
    SELECT pg_get_userbyid(relowner) INTO holder FROM pg_class WHERE oid = 'events'::regclass;
    SELECT array_agg(format('CREATE OR REPLACE VIEW %s AS %s', oid::regclass, pg_get_viewdef(oid))) INTO views
      FROM (SELECT DISTINCT v.oid FROM pg_depend AS d
              JOIN pg_rewrite AS r ON r.oid = d.objid JOIN pg_class AS v ON v.oid = r.ev_class
             WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = 'events'::regclass AND v.relkind = 'v') AS found;
    SELECT array_agg(format('GRANT %s ON events TO %s%s', g.privilege_type,
                            CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END,
                            CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)) INTO grants
      FROM pg_class AS c, LATERAL aclexplode(c.relacl) AS g
     WHERE c.oid = 'events'::regclass AND g.grantee <> c.relowner;
    SELECT array_agg(format('CREATE INDEX %I ON events%s', i.relname,
                            substring(pg_get_indexdef(x.indexrelid) FROM ' USING .*$')) ORDER BY i.relname) INTO indexes
      FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid
     WHERE x.indrelid = 'events'::regclass AND NOT x.indisprimary;

    ALTER TABLE events RENAME TO events_from_1;
    FOR each IN SELECT i.relname FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid
                 WHERE x.indrelid = 'events_from_1'::regclass LOOP
        EXECUTE format('ALTER INDEX %I RENAME TO %I', each.relname,
                       regexp_replace(each.relname, '^events', 'events_from_1'));
    END LOOP;
    CREATE TABLE events (LIKE events_from_1 INCLUDING ALL EXCLUDING INDEXES EXCLUDING CONSTRAINTS)
        PARTITION BY RANGE (position);
    EXECUTE format('ALTER TABLE events OWNER TO %I', holder);
    FOREACH step IN ARRAY indexes LOOP
        EXECUTE step;
    END LOOP;
    EXECUTE format('ALTER TABLE events ATTACH PARTITION events_from_1 FOR VALUES FROM (MINVALUE) TO (%s)', room);
    ALTER TABLE events_from_1 DROP CONSTRAINT events_room;
    CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
    ALTER TABLE events ENABLE ALWAYS TRIGGER events_append_only;
    FOREACH step IN ARRAY coalesce(views, '{}') || coalesce(grants, '{}') LOOP
        EXECUTE step;
    END LOOP;
END
$$;

-- Makes room for events up to a position at least -> the first position that there is no room for then. Nobody who reads
-- or writes waits for it, unless `events` is still a plain table.
CREATE FUNCTION make_events_room(up_to bigint, size bigint DEFAULT next_partition_size()) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    start     bigint;
    room      bigint;
    partition text;
BEGIN
    LOCK TABLE event_partitions IN SHARE ROW EXCLUSIVE MODE;
    SELECT before INTO start FROM event_partitions ORDER BY first DESC LIMIT 1;
    IF start > up_to THEN
        RETURN start;  -- somebody else did
    END IF;
    -- A slice may be imported far ahead of the head.
    room := greatest(start + size, (up_to / size + 1) * size);
    IF (SELECT relkind FROM pg_class WHERE oid = 'events'::regclass) = 'r' THEN
        ALTER TABLE events DROP CONSTRAINT events_room;
        EXECUTE format('ALTER TABLE events ADD CONSTRAINT events_room CHECK (position < %s) NOT VALID', room);
        UPDATE event_partitions SET before = room;
        RETURN room;
    END IF;
    partition := 'events_from_' || start;
    EXECUTE format('CREATE TABLE %I (LIKE events INCLUDING ALL, PRIMARY KEY (stream, version))', partition);
    EXECUTE format('CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %I '
                   'FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', partition);
    EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER events_append_only', partition);
    EXECUTE format('ALTER TABLE events ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', partition, start, room);
    INSERT INTO event_partitions (first, before, name) VALUES (start, room, partition);
    RETURN room;
END
$$;

-- Of a ledger of up to a million events the rows are read here, which takes a second at most. Of a larger one they are
-- while the service runs, which then makes the table the first partition; until then it has room for so many more.
DO $$
DECLARE
    head bigint := coalesce((SELECT max(position) FROM events), 0);
    room bigint := (head / 1000000 + greatest(1, head / 4000000)) * 1000000 + next_partition_size();
BEGIN
    IF head < 1000000 THEN
        room := (head / 1000000 + 1) * 1000000;
    END IF;
    INSERT INTO event_partitions (first, before, name) VALUES (1, room, 'events_from_1');
    EXECUTE format('ALTER TABLE events ADD CONSTRAINT events_room CHECK (position < %s) NOT VALID', room);
    IF head < 1000000 THEN
        PERFORM partition_events();
    END IF;
END
$$;
