-- Ended sessions leave their table once the events that ended them are archived: they are made of these when asked for.
--
-- One row, or none where nothing was removed yet. A rebuild of the projection puts it in place with the table.
CREATE TABLE sessions_trimmed (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    before bigint NOT NULL,  -- sessions that ended before this position may be missing in `sessions` …
    done   bigint NOT NULL   -- … and those that ended before this one are
);
