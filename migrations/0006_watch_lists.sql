-- Watch lists: named sets of users, and of those who are told when one of them changes.

-- Every change of a list. Numbers ascend in the order of the commits, so whoever has seen one has seen all before it.
CREATE TABLE list_changes (
    number           bigint PRIMARY KEY,
    list             text COLLATE "C" NOT NULL,
    kind             text NOT NULL,         -- created, changed or deleted
    changed_by       text NOT NULL,         -- the name of the API key
    changed_at       timestamptz NOT NULL,
    added            bigint NOT NULL,       -- how many users
    removed          bigint NOT NULL,
    watchers_added   bigint NOT NULL,
    watchers_removed bigint NOT NULL
);
CREATE INDEX list_changes_list ON list_changes (list, number);

-- The lists that there are, with how many are on them: written with each change, so that nobody counts.
CREATE TABLE watch_lists (
    name        text COLLATE "C" PRIMARY KEY,
    created_by  bigint NOT NULL,  -- the number of the change
    last_change bigint NOT NULL,
    members     bigint NOT NULL,
    watchers    bigint NOT NULL
);

-- Who is on a list, and who was: from one change to another.
CREATE TABLE list_members (
    uid        text COLLATE "C" NOT NULL,
    list       text COLLATE "C" NOT NULL,
    added_by   bigint NOT NULL,
    removed_by bigint,            -- none: they are on it
    PRIMARY KEY (uid, list, added_by)
);
CREATE UNIQUE INDEX list_members_now ON list_members (uid, list) WHERE removed_by IS NULL;
CREATE INDEX list_members_of ON list_members (list, uid) WHERE removed_by IS NULL;
CREATE INDEX list_members_added ON list_members (list, added_by);
CREATE INDEX list_members_removed ON list_members (list, removed_by) WHERE removed_by IS NOT NULL;

CREATE TABLE list_watchers (
    uid        text COLLATE "C" NOT NULL,
    list       text COLLATE "C" NOT NULL,
    added_by   bigint NOT NULL,
    removed_by bigint,
    PRIMARY KEY (uid, list, added_by)
);
CREATE UNIQUE INDEX list_watchers_now ON list_watchers (uid, list) WHERE removed_by IS NULL;
CREATE INDEX list_watchers_of ON list_watchers (list, uid) WHERE removed_by IS NULL;

-- Tokens of streams are signed with what is made of the seal key and of this row: once it is another, none is valid.
CREATE TABLE stream_tokens (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    generation uuid NOT NULL DEFAULT gen_random_uuid(),
    since      timestamptz NOT NULL DEFAULT now()
);
INSERT INTO stream_tokens DEFAULT VALUES;

-- The scope `watch`, which includes `read`. Not one of `scopes`: versions that do not know it read those.
ALTER TABLE api_keys ADD COLUMN may_watch boolean NOT NULL DEFAULT false;
