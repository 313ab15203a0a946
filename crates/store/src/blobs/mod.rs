//! Blobs: bytes named by their digests, in packs on a volume.

mod encoding;
pub mod format;
mod group_sync;
mod index;
pub mod pack;
mod scan_levels;
mod snapshot;
mod space;

pub use group_sync::SyncPoints;
pub use scan_levels::BytesByAge;
