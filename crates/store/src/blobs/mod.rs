//! Blobs: bytes named by their digests, in packs on a volume.

pub mod format;
