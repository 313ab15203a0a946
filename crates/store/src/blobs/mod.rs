//! Blobs: bytes named by their digests, in packs on a volume.
//!
//! [`Blobs`] is the whole of it to the domain. Below that everything is synchronous and takes a [`crate::disk::Disk`];
//! only `packs`, `reader` and `upload` are asynchronous, and decide what may block, and `blocking` how much at a time.
//!
//! **Invariant:** what is durable is found again after any power cut; what is served has passed its checksums. When a
//! blob counts as there, what must be synced before a promise, and what is let go is not decided here.

mod appending;
mod backup;
mod blocking;
mod compaction;
mod compressing;
mod damage;
mod encoding;
pub mod format;
mod group_sync;
mod held;
mod index;
mod inventory;
mod letting_go;
pub mod pack;
mod pack_files;
mod pack_set;
mod packs;
mod poison;
mod reader;
mod reading;
mod reap;
mod scan_levels;
mod scrub;
mod shared;
mod snapshot;
mod space;
mod start;
mod unsealed;
mod upkeep;
mod upload;
pub mod volume;

pub use backup::{Mark, Pack, PackCopied, PackCopies, Purpose, Target, become_volume};
pub use compaction::GivenBack;
pub use compressing::{CompressStep, Compressed, Compressing};
pub use damage::Damage;
pub use group_sync::SyncPoints;
pub use inventory::{Inventory, Item};
pub use letting_go::{Dropped, Swept};
pub use packs::{BlobFigures, Blobs, BlobsOptions};
pub use reader::BlobReader;
pub use scan_levels::BytesByAge;
pub use scrub::{BadRecord, Scrub, ScrubPosition, Scrubbed};
pub use shared::Raised;
pub use space::SpaceParts;
pub use start::Started;
pub use upload::Upload;

#[cfg(test)]
mod tests;
