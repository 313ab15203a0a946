-- What is true of the whole catalog: one row, its image described in head.rs.
CREATE TABLE head (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    image    BLOB NOT NULL,
    checksum INTEGER NOT NULL
);

-- One row a value. `pending` is 0 for the value in force and 1 for one that waits for a blob.
CREATE TABLE name (
    seq        INTEGER PRIMARY KEY,
    key        BLOB NOT NULL,
    pending    INTEGER NOT NULL,
    kind       INTEGER NOT NULL,
    instance   TEXT NOT NULL,
    text       TEXT NOT NULL,
    qualifiers TEXT NOT NULL,
    target     INTEGER NOT NULL,
    content    BLOB NOT NULL,
    refs       BLOB NOT NULL,
    missing    BLOB,
    expires    INTEGER,
    pushed     INTEGER NOT NULL,
    pusher     TEXT NOT NULL,
    address    TEXT NOT NULL,
    checksum   INTEGER NOT NULL,
    level      INTEGER NOT NULL,
    touched    INTEGER NOT NULL
);

CREATE UNIQUE INDEX name_by_key ON name (key, pending);
