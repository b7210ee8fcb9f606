-- Who is logged in to the console. The cookie holds a random id; what stands here is only its hash.

CREATE TABLE console_sessions (
    id_hash    bytea PRIMARY KEY,
    key_hash   bytea NOT NULL,
    key_name   text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    CONSTRAINT id_hash_is_sha256 CHECK (octet_length(id_hash) = 32),
    CONSTRAINT key_hash_is_sha256 CHECK (octet_length(key_hash) = 32)
);

COMMENT ON TABLE console_sessions IS 'Sessions of the console; each ends at its instant, by a logout, or with its API key.';
COMMENT ON COLUMN console_sessions.id_hash IS 'SHA-256 of the id in the cookie.';
COMMENT ON COLUMN console_sessions.key_hash IS 'Of the API key that it was made with, which may stand in the settings and not in api_keys.';
