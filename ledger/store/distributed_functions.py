"""What works otherwise where a ledger is on a Citus cluster: heads, look-ups, room, and what refuses changes."""

from typing import LiteralString

LOOKUPS = (
    "next_event", "event_of_delivery", "end_of_run", "first_event_of", "last_event_of", "events_after", "bounds_after",
    "first_version_beyond", "snapshot_before", "snapshot_at", "snapshot_after", "snapshots_between",
    "drifts_of",
)  # fmt: skip
"""Functions of the migration `lookups` that ask one worker, or each of them, once for each call."""

# A query within a function is planned by itself, so that it goes to the worker that has the rows.
AS_LOOKUP: LiteralString = """
SELECT format('CREATE OR REPLACE FUNCTION %%s(%%s) RETURNS %%s LANGUAGE plpgsql STABLE AS '
              '$lookup$ #variable_conflict use_column %%sBEGIN RETURN QUERY %%s; END $lookup$',
              oid::regproc, pg_get_function_arguments(oid), pg_get_function_result(oid), chr(10), prosrc)
  FROM pg_proc WHERE oid = ANY(SELECT to_regproc(name) FROM unnest(%s::text[]) AS named (name))
"""

WHOLE_LOCK = 0x7768_6F6C
"""The first half of the advisory lock of a commit until all workers have it: "whol" in ASCII; the other is its xid."""

# The workers have a commit a moment after the coordinator has. Until all of them do, its transaction holds its locks.
HOLD_UNTIL_WHOLE: LiteralString = f"""
CREATE OR REPLACE FUNCTION hold_until_whole() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock({WHOLE_LOCK}, ((pg_current_xact_id()::text::numeric % 4294967296) - 2147483648)::int);
    RETURN NULL;
END
$$
"""
HOLD_EACH = (
    "CREATE TRIGGER seals_hold_until_whole AFTER INSERT ON seals FOR EACH ROW EXECUTE FUNCTION hold_until_whole()"
)

# So where the last seal's is held, the commit before it is the last one of which everybody sees all.
LAST_SEALED: LiteralString = f"""
CREATE OR REPLACE FUNCTION last_sealed() RETURNS TABLE ("position" bigint, recorded_at timestamptz)
    LANGUAGE plpgsql STABLE ROWS 1 AS $$
#variable_conflict use_column
DECLARE
    last   record;
    writer int;
BEGIN
    SELECT s.xmin AS writer, s.first_position, s.last_position, s.recorded_at INTO last
      FROM seals AS s ORDER BY s.first_position DESC LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    writer := (last.writer::text::bigint - 2147483648)::int;
    IF pg_try_advisory_lock_shared({WHOLE_LOCK}, writer) THEN
        PERFORM pg_advisory_unlock_shared({WHOLE_LOCK}, writer);
        RETURN QUERY SELECT last.last_position, last.recorded_at;
    ELSE
        RETURN QUERY SELECT s.last_position, s.recorded_at FROM seals AS s
                      WHERE s.first_position < last.first_position AND s.xmin <> last.writer
                      ORDER BY s.first_position DESC LIMIT 1;
    END IF;
END
$$
"""  # noqa: S608  (of constants)

LAST_EVENT: LiteralString = """
CREATE OR REPLACE FUNCTION last_event() RETURNS TABLE ("position" bigint, recorded_at timestamptz)
    LANGUAGE sql STABLE ROWS 1 AS $$ SELECT position, recorded_at FROM last_sealed() $$
"""

# Each once, so that only so many come from the workers.
USER_STREAMS_AFTER: LiteralString = """
CREATE OR REPLACE FUNCTION user_streams_after(after bigint) RETURNS TABLE (stream text)
    LANGUAGE plpgsql STABLE ROWS 1000 AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT DISTINCT stream FROM events WHERE position > after AND starts_with(stream, 'user:');
END
$$
"""

# Under the lock all is there, and nothing without a seal.
LAST_EVENT_FROM: LiteralString = """
CREATE OR REPLACE FUNCTION last_event_from(first bigint) RETURNS TABLE ("position" bigint, recorded_at timestamptz)
    LANGUAGE sql STABLE ROWS 1
    AS $$ SELECT last_position, recorded_at FROM seals WHERE last_position >= first
           ORDER BY first_position DESC LIMIT 1 $$
"""

POSITION_AT: LiteralString = """
CREATE OR REPLACE FUNCTION position_at(instant timestamptz) RETURNS bigint LANGUAGE plpgsql STABLE STRICT AS $$
DECLARE
    low    bigint := 0;
    high   bigint := coalesce((SELECT position FROM last_sealed()), 0);
    middle bigint;
    probe  record;
BEGIN
    WHILE low < high LOOP
        middle := (low + high + 1) / 2;
        SELECT first_position, last_position, recorded_at INTO probe FROM seals
         WHERE first_position <= middle ORDER BY first_position DESC LIMIT 1;
        IF NOT FOUND OR probe.last_position <= low THEN
            SELECT first_position, last_position, recorded_at INTO probe FROM seals
             WHERE first_position > low AND first_position <= high ORDER BY first_position LIMIT 1;
            EXIT WHEN NOT FOUND OR probe.recorded_at > instant;
            low := probe.last_position;
        ELSIF probe.recorded_at <= instant THEN
            low := probe.last_position;
        ELSE
            high := probe.first_position - 1;
        END IF;
    END LOOP;
    RETURN low;
END
$$
"""

# On a worker the erasure's row is not at hand: that its transaction says it is one has to do.
REFUSE_CHANGE: LiteralString = """
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP IN ('UPDATE', 'DELETE') AND TG_TABLE_NAME <> 'seals'
       AND current_setting('presence_ledger.erasure', true) <> ''
    THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'the ledger is append-only: % on % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation',
              HINT = 'An event is never changed or removed; append a new one that says what is right.';
END
$$
"""

MAKE_ROOM = """
ALTER FUNCTION make_events_room(bigint, bigint)
    SET citus.enable_unsafe_triggers = on SET citus.multi_shard_modify_mode = 'sequential'
"""
