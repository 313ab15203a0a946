-- Records found bad, until their pack is gone. Offsets count 8 bytes.
CREATE TABLE damage (
    pack        INTEGER NOT NULL,
    pack_offset INTEGER NOT NULL,
    checksum    INTEGER NOT NULL,
    PRIMARY KEY (pack, pack_offset)
) WITHOUT ROWID;
