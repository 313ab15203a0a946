-- What an operator wants kept, its image described in pins.rs.
CREATE TABLE pin (
    id       INTEGER PRIMARY KEY,
    image    BLOB NOT NULL,
    checksum INTEGER NOT NULL
);
