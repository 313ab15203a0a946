//! Blobs: bytes named by their digests, in packs on a volume.

mod encoding;
pub mod format;
pub mod pack;
pub mod volume;
