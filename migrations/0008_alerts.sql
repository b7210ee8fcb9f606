-- Alerts: what is wrong, since when, who knows; each row is written with its event.
--
-- Instants are microseconds since the Unix epoch, UTC.

CREATE TABLE alerts (
    id              text COLLATE "C" PRIMARY KEY,
    position        bigint NOT NULL,              -- of the event that it began
    name            text   NOT NULL,
    severity        text   NOT NULL,
    source          text COLLATE "C" NOT NULL,    -- '(service)': of none
    subject         text COLLATE "C" NOT NULL,    -- a node, a projection, a sink, an instance; '': the source as a whole
    incident        text   NOT NULL,              -- tells two of one subject apart, such as two boots of a node
    began_at        bigint NOT NULL,
    since           bigint NOT NULL,              -- when its condition began to hold
    figures         jsonb  NOT NULL,
    rests_on        bigint[] NOT NULL,            -- positions of events
    acknowledged_at bigint,
    acknowledged_by text,
    ended_at        bigint,
    notices         jsonb  NOT NULL DEFAULT '{}'  -- by entry of [[notify]]: when its beginning and its end were told
) WITH (fillfactor = 70);

CREATE UNIQUE INDEX alerts_position ON alerts (position);

-- One alert for one incident, whichever instance finds it.
CREATE UNIQUE INDEX alerts_on ON alerts (name, source, subject, incident) WHERE ended_at IS NULL;

-- Read every few seconds: those that ended lately.
CREATE INDEX alerts_ended ON alerts (ended_at);

-- What each instance alone knows, for the one that evaluates alerts; lost without harm.
CREATE TABLE instance_figures (
    instance text PRIMARY KEY,
    noted_at bigint NOT NULL,
    figures  jsonb  NOT NULL
);
