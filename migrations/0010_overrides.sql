-- Overrides: an operator's word that is shown in place of what the evidence says.

-- When one that no event has ended yet is over at the latest, microseconds. Who has one is shown by their state, since
-- what is shown then changes with time.
ALTER TABLE current ADD COLUMN override_until bigint;

CREATE INDEX current_override_until ON current (override_until) WHERE override_until IS NOT NULL;
