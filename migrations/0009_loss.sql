-- Which transitions webhooks told and which they lost, and the times in which nobody could know.
--
-- Instants are microseconds since the Unix epoch, UTC.

-- Transitions counted, by the ten seconds in which they were learnt: those that a webhook told, and those that a sweep
-- explains.
CREATE TABLE transitions (
    source text   NOT NULL,
    at     bigint NOT NULL,  -- the begin of these ten seconds
    node   text   NOT NULL,
    by     text   NOT NULL,  -- webhook, restart or retired
    number bigint NOT NULL,
    PRIMARY KEY (source, at, node, by)
) WITH (fillfactor = 70);

-- Those that their own webhook did not tell, each by itself: it took place after `after`, where that is known, and by `at`.
CREATE TABLE untold (
    uid       text COLLATE "C" NOT NULL,
    position  bigint NOT NULL,  -- of the event that brought it to light
    became    text   NOT NULL,  -- online or offline
    source    text   NOT NULL,
    node      text   NOT NULL,
    scope     text   NOT NULL,
    learnt_by text   NOT NULL,
    after     bigint,
    at        bigint NOT NULL,
    state     text   NOT NULL,  -- supposed: it does not count yet; open: its webhook may still come; final
    PRIMARY KEY (uid, position, became)
) WITH (fillfactor = 70);
CREATE INDEX untold_at ON untold (source, at) WHERE state <> 'supposed';
CREATE INDEX untold_pending ON untold (uid) WHERE state <> 'final';

-- The times in which nobody could know who came and went.
CREATE TABLE blind_times (
    source        text   NOT NULL,
    position      bigint NOT NULL,  -- of the event that told of it
    node          text   NOT NULL,  -- '': the whole source
    kind          text   NOT NULL,  -- before_record, service_stopped, source_dark, node_down or store_unavailable
    since         bigint NOT NULL,
    until         bigint,           -- none: it goes on
    reason        text   NOT NULL,
    last_position bigint,           -- of the event that told of its end
    listed_at     bigint,           -- everybody had been looked at after it by then
    others        text   NOT NULL,  -- instances that may have been there all the same, by blanks
    PRIMARY KEY (source, position, node)
);

INSERT INTO projections (name) VALUES ('loss'), ('blind');
