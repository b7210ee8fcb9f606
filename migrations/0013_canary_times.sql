-- When which users were canaries, by positions of the ledger: who is none any more was one all the same in what is
-- counted anew of then.

CREATE TABLE canary_times (
    uid      text COLLATE "C" NOT NULL,
    after    bigint NOT NULL,  -- the head when it was taken up: its own events come later
    up_to    bigint,           -- the head when it was left out; none: it is one
    PRIMARY KEY (uid, after)
) WITH (fillfactor = 70);

INSERT INTO canary_times (uid, after) SELECT DISTINCT uid, 0 FROM canaries;
