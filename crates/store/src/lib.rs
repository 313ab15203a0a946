//! Bytes and rows: blobs in packs, and the catalog.
