-- Which ledger this is, what its instances have in common, and which ledger its projections were built on.

-- One row. The columns about going back are of the last time that the database lacked commits that an instance knew.
CREATE TABLE ledger_identity (
    one            boolean PRIMARY KEY DEFAULT true CHECK (one),
    ledger         uuid   NOT NULL DEFAULT gen_random_uuid(),  -- for ever
    epoch          uuid   NOT NULL DEFAULT gen_random_uuid(),  -- anew wherever a position may mean another event
    went_back_at   timestamptz,       -- when it was found
    went_back_from bigint,            -- the last position that was known
    went_back_to   bigint,            -- up to there nothing is another than it was
    suspect_after  bigint             -- of `current` after this position has still to be held against the events
);
INSERT INTO ledger_identity DEFAULT VALUES;

-- Fingerprints of the secrets that instances must have in common, keyed with the seal key; never the secrets.
CREATE TABLE known_secrets (
    name         text    PRIMARY KEY,  -- 'seal_keys', or 'webhook_secret ' and a source
    key_id       bytea   NOT NULL,     -- of the seal key that the fingerprints were made with
    fingerprints bytea[] NOT NULL      -- newest first; of seal keys their ids
);

-- A seal of the ledger that a projection was built on. An older version moves checkpoints on without it: it holds for
-- the position beside it.
ALTER TABLE projections ADD COLUMN anchor_position bigint NOT NULL DEFAULT 0;
ALTER TABLE projections ADD COLUMN anchor bytea;
UPDATE projections AS p SET anchor_position = s.last_position, anchor = s.seal
  FROM projections AS q
 CROSS JOIN LATERAL (SELECT last_position, seal FROM seals WHERE last_position <= q.position
                      ORDER BY first_position DESC LIMIT 1) AS s
 WHERE p.name = q.name;
