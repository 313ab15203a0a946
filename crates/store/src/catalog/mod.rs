//! The catalog: names and their values, damage found in packs, waterline and time. SQLite, with a journal of all that
//! was committed as the second copy.
//!
//! **Invariant:** what [`Catalog::publish`] has answered is on the disk in the database, and written to the journal.
//! One thread writes; whoever waits for it shares its COMMIT. A value is served from the cache only if it is the one
//! last committed.
//!
//! The catalog knows no blobs: whether a value is whole, and whether its level is above the waterline, is the
//! domain's to say.

mod name;
mod options;
mod value;

use std::path::Path;
use std::sync::Arc;

pub use name::{Name, NameKind};
pub use options::{CatalogChecked, CatalogFigures, CatalogOptions, CatalogStarted};
pub use value::{NewValue, State, Target, UseOf, Value};

use crate::disk::Disk;
use crate::{Error, Level, Result};

/// The largest content of a [`Target::Inline`], in bytes.
pub const INLINE_MAX: usize = 64 << 10;

/// The catalog of one volume. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Catalog {}

#[allow(unused_variables, clippy::unused_async)]
impl Catalog {
    /// Opens the catalog in `folder`, the data directory, which is also what paths of `disk` are relative to. Makes it
    /// if there is none; rebuilds it from the journal if it is damaged.
    pub fn open(
        folder: &Path,
        disk: Arc<dyn Disk>,
        options: &CatalogOptions,
    ) -> Result<(Self, CatalogStarted)> {
        Err(Error::Busy("the catalog is being built".into()))
    }

    /// Commits these values, all or none, and answers once they survive a power cut. A whole value replaces the value
    /// in force and removes a pending one of its name; a pending one is kept beside the value in force.
    pub async fn publish(&self, values: Vec<NewValue>) -> Result<Vec<Arc<Value>>> {
        Err(Error::Busy("the catalog is being built".into()))
    }

    /// The value in force. [`Error::Damaged`] if its row fails its checksum: the rebuild has then been started.
    pub async fn look_up(&self, name: &Name) -> Result<Option<Arc<Value>>> {
        Err(Error::Busy("the catalog is being built".into()))
    }

    /// What the cache knows, without I/O: `Some(None)` if it knows that the name has no value in force.
    pub fn cached(&self, name: &Name) -> Option<Option<Arc<Value>>> {
        None
    }

    /// The pending value. Errors as [`Catalog::look_up`].
    pub async fn pending(&self, name: &Name) -> Result<Option<Arc<Value>>> {
        Err(Error::Busy("the catalog is being built".into()))
    }

    /// Whether a value waits under this name. No I/O.
    pub fn has_pending(&self, name: &Name) -> bool {
        false
    }

    /// Removes this value, in force or pending; false if the name has another one by now, or none.
    pub async fn remove(&self, name: &Name, seq: u64) -> Result<bool> {
        Err(Error::Busy("the catalog is being built".into()))
    }

    /// Raises level and touched of each value that is still there.
    pub async fn record_uses(&self, uses: Vec<UseOf>) -> Result<()> {
        Err(Error::Busy("the catalog is being built".into()))
    }

    /// Remembers a bad record in a pack. Blocks until it is committed.
    pub fn record_damage(&self, pack: u32, offset: u32) -> Result<()> {
        Err(Error::Busy("the catalog is being built".into()))
    }

    /// All bad records remembered, as (pack, offset). Blocks.
    pub fn damage(&self) -> Result<Vec<(u32, u32)>> {
        Err(Error::Busy("the catalog is being built".into()))
    }

    /// Forgets the bad records of a pack that is gone.
    pub async fn forget_damage(&self, pack: u32) -> Result<()> {
        Err(Error::Busy("the catalog is being built".into()))
    }

    /// Commits the cache time, for [`CatalogStarted::last_time`]. Never moves it back.
    pub async fn record_time(&self, time: Level) -> Result<()> {
        Err(Error::Busy("the catalog is being built".into()))
    }

    /// Commits the waterline and these uses in one transaction. Never moves the waterline back.
    pub async fn commit_waterline(&self, waterline: Level, uses: Vec<UseOf>) -> Result<()> {
        Err(Error::Busy("the catalog is being built".into()))
    }

    /// Visits every value in force that was touched later than `after`, in portions. Blocks. Values published
    /// meanwhile may be visited too.
    pub fn for_each_touched_after(&self, after: Level, visit: &mut dyn FnMut(Value)) -> Result<()> {
        Err(Error::Busy("the catalog is being built".into()))
    }

    /// Reads the whole catalog and the journal, and cures what is damaged: for a background thread, beside serving,
    /// after an unclean stop. Blocks.
    pub fn check(&self) -> Result<CatalogChecked> {
        Err(Error::Busy("the catalog is being built".into()))
    }

    /// Figures now. Asks the file system for sizes.
    pub fn figures(&self) -> CatalogFigures {
        CatalogFigures::default()
    }

    /// Ends writing, and leaves the mark of a clean stop. Blocks. Whatever is asked for afterwards is refused as busy.
    pub fn close(&self) -> Result<()> {
        Err(Error::Busy("the catalog is being built".into()))
    }
}
