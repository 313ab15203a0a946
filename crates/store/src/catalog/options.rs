//! How the catalog is opened, what was found then, and its figures.

use std::sync::Arc;

use super::{Revisions, Witness};
use crate::Level;
use crate::disk::DiskWatch;

/// How much the catalog may take.
#[derive(Clone, Debug)]
pub struct CatalogOptions {
    /// Connections that read, at least one.
    pub readers: usize,
    /// Bytes of names and values kept in memory.
    pub cache_bytes: u64,
    /// Bytes at which SQLite's write-ahead log is written back into the database and cut.
    pub wal_bytes: u64,
    /// Whether a catalog of an older format is raised to that of this release, which earlier ones cannot read.
    pub upgrade: bool,
    /// Who hears of changes of names.
    pub witness: Option<Arc<dyn Witness>>,
    /// Knows for how long a COMMIT has waited for the disk, which the database asks by itself.
    pub disk_watch: Arc<DiskWatch>,
    /// Says which names keep earlier values.
    pub revisions: Option<Arc<dyn Revisions>>,
}

impl Default for CatalogOptions {
    fn default() -> Self {
        Self {
            readers: 4,
            cache_bytes: 32 << 20,
            wal_bytes: 4 << 20,
            upgrade: true,
            witness: None,
            disk_watch: Arc::default(),
            revisions: None,
        }
    }
}

/// What opening the catalog found.
#[derive(Clone, Debug)]
pub struct CatalogStarted {
    /// The waterline as last committed.
    pub waterline: Level,
    /// The last cache time that was committed; nothing in the catalog was touched later.
    pub last_time: Level,
    /// Whether it was closed in order. A new catalog was.
    pub clean: bool,
    /// Whether the database was made anew from the journal.
    pub rebuilt: bool,
    /// Records of the journal that were replayed for that.
    pub replayed: u64,
    /// The older format that it had, and the one that it was raised to.
    pub upgraded: Option<(u32, u32)>,
    /// Files that could not be read, each with the name it was set aside under.
    pub set_aside: Vec<String>,
}

/// Figures of the catalog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CatalogFigures {
    /// Names that have a value in force.
    pub names: u64,
    /// Names that have a pending value.
    pub pending: u64,
    /// Bytes allocated for the database, its write-ahead log and index.
    pub database_bytes: u64,
    /// Bytes allocated for databases that were set aside as damaged, or are being rebuilt.
    pub aside_bytes: u64,
    /// Bytes allocated for the journal.
    pub journal_bytes: u64,
    /// Whether the journal holds everything: if not, it is being written anew, or waits for room.
    pub journal_complete: bool,
    /// Whether damage was found that is not yet cured.
    pub damaged: bool,
    /// Whether writes are refused since a fault of the disk.
    pub poisoned: bool,
}

/// What [`Catalog::check`](super::Catalog::check) found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CatalogChecked {
    /// Rows read and compared with their checksum and the index.
    pub rows: u64,
    /// What is wrong with the database, a sentence each; empty if nothing is.
    pub database: Vec<String>,
    /// Places of the journal that fail their checksum.
    pub journal_bad: u64,
    /// Whether the database was made anew from the journal.
    pub rebuilt: bool,
}
