-- The keys of the HTTP API. A key is shown once, when it is made; what stands here is only its hash.

CREATE TABLE api_keys (
    name text PRIMARY KEY,
    key_hash bytea NOT NULL UNIQUE,
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz,
    CONSTRAINT key_hash_is_sha256 CHECK (octet_length(key_hash) = 32),
    CONSTRAINT scopes_are_known CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY['read', 'audit', 'admin'])
);

COMMENT ON TABLE api_keys IS 'Who may ask the HTTP API what; a revoked key stays, so that its name keeps its meaning.';
COMMENT ON COLUMN api_keys.key_hash IS 'SHA-256 of the key as it is sent.';
COMMENT ON COLUMN api_keys.scopes IS 'As granted: admin includes audit, audit includes read.';
COMMENT ON COLUMN api_keys.revoked_at IS 'From this instant on the key is refused; null: it is accepted.';
