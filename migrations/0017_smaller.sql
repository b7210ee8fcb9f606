-- Smaller: the timeline is made of the events when it is asked for, outages are a projection of their own, and the event
-- that there is most of is stored by the order of its fields.
--
-- An instance of the version before takes webhooks as ever. Until it is upgraded it has no timelines to show, notes no
-- outages, erases nobody, and its projections wait where the first event in that form is.

-- As of where `timeline` had come, on the same seal. An event of a source that it was told to leave out is left out.
INSERT INTO projections (name, position, anchor_position, anchor)
SELECT 'outages', position, anchor_position, anchor FROM projections WHERE name = 'timeline';
UPDATE projection_skips SET name = 'outages' WHERE name = 'timeline';
DELETE FROM projections WHERE name = 'timeline';

DROP TABLE timeline;

-- An event's payload by the names that it has in the API; the event that there is most of is stored by the order of its
-- fields.
CREATE FUNCTION event_json(kind text, payload bytea) RETURNS jsonb LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE WHEN kind <> 'webhook_observed.v2' THEN payload_json(payload)
                ELSE (SELECT jsonb_object_agg(name, value)
                        FROM jsonb_array_elements(payload_json(payload)) WITH ORDINALITY AS given (value, place)
                        JOIN unnest('{source, node, delivery, item, raw, received_at, verdict, rule, status_before,
                                      status_after, device_flag, online, conn_id, emptied, repeated, scope, suspect,
                                      swept, implied, named, resumes, placed, implied_elsewhere, withdrawn,
                                      withdrawn_elsewhere, unbelieved}'::text[])
                             WITH ORDINALITY AS known (name, place) USING (place))
           END
$$;

-- OFFSET: without it the function would be called once for each of the columns.
CREATE OR REPLACE VIEW ledger_events AS
    SELECT position, stream, version, kind, recorded_at,
           to_timestamp((body ->> 'received_at')::numeric / 1000000) AS received_at,
           body ->> 'verdict' AS verdict, body ->> 'rule' AS rule, body ->> 'raw' AS raw, body AS payload
      FROM events, LATERAL (SELECT event_json(kind, payload) AS body OFFSET 0) AS decoded;

-- Sessions: numbers that are small take four bytes; and an index each for those that are open, which are few, and for the
-- others, so that hardly any is in both. Of a ledger with more than a million of them the numbers stay as they are, since
-- to write the table anew takes some seconds for each million.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM sessions OFFSET 1000000) THEN
        ALTER TABLE sessions ALTER ordinal TYPE integer, ALTER device_flag TYPE integer, ALTER concurrent TYPE integer,
                             ALTER flaps TYPE integer;
    END IF;
END
$$;
DROP INDEX sessions_ends;
CREATE INDEX sessions_open ON sessions (uid) WHERE ended_at IS NULL;
CREATE INDEX sessions_ended ON sessions (uid, ended_at) WHERE ended_at IS NOT NULL;
