//! Packs: files of records. One file writes each kind (`append`, `single`), one reads (`read`), one finds what is good
//! in a pack that has no footer (`search`), one ends a pack (`seal`); the layout is [`super::format`]'s.
//!
//! All of this blocks and holds no policy: which pack takes a blob, who waits for a sync and what a full disk means to
//! a client is decided above. **Invariant:** a pack named `.pack` is complete and durable and never written again.

mod append;
mod copy;
mod read;
mod seal;
mod search;
mod single;
mod stored;
mod window;

use super::format::Place;

pub use append::{ENTRIES_MAX, OpenPack};
pub use copy::{Copied, CopyPlan, copy_path};
pub use read::{FrameReader, PackFile};
pub use search::{Found, Sealed, search_and_seal, search_open, search_sealed};
pub use single::{Single, SingleWriter};
pub use stored::StoredRecord;

/// Where an appended record came to lie. It is not durable yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its place.
    pub place: Place,
    /// Bytes of frames and frame table, without header and padding.
    pub stored: u64,
    /// Where it ends in the pack: durable once the pack is synced up to here.
    pub end: u64,
}

#[cfg(test)]
mod tests;
