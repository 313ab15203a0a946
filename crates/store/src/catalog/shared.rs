//! What the writer and all readers share.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::cache::Cache;
use super::head::Head;
use super::journal;
use super::readers::Readers;
use super::{CatalogFigures, exchange};
use crate::disk::{Disk, RealDisk};
use crate::{Error, Result};

/// Shared by the writer and all readers.
#[derive(Debug)]
pub(super) struct Shared {
    /// The data directory.
    pub(super) folder: PathBuf,
    /// The same, for SQLite's own files.
    pub(super) files: RealDisk,
    /// What the journal lies on.
    pub(super) disk: Arc<dyn Disk>,
    pub(super) cache: Cache,
    pub(super) readers: Readers,
    /// Bytes of SQLite's log at which it is written back.
    pub(super) wal_bytes: u64,
    /// The journal holds everything.
    pub(super) journal_complete: AtomicBool,
    /// Damage was found that is not cured.
    pub(super) damaged: AtomicBool,
    /// Writes are refused.
    pub(super) poisoned: AtomicBool,
    /// What takes long is broken off.
    pub(super) closing: AtomicBool,
    /// The last stop was not clean, and the check that is due since then has not come to its end.
    pub(super) unchecked: AtomicBool,
    names: AtomicU64,
    pending: AtomicU64,
    pub(super) kept_gone: AtomicU64,
}

impl Shared {
    pub(super) fn new(
        folder: PathBuf,
        files: RealDisk,
        disk: Arc<dyn Disk>,
        cache: Cache,
        readers: Readers,
        wal_bytes: u64,
    ) -> Self {
        Self {
            folder,
            files,
            disk,
            cache,
            readers,
            wal_bytes,
            journal_complete: AtomicBool::new(false),
            damaged: AtomicBool::new(false),
            poisoned: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            unchecked: AtomicBool::new(false),
            names: AtomicU64::new(0),
            pending: AtomicU64::new(0),
            kept_gone: AtomicU64::new(0),
        }
    }

    /// [`Error::Busy`] once the catalog is being closed: asked again and again by what takes long.
    pub(super) fn go_on(&self) -> Result<()> {
        if self.closing.load(Ordering::Acquire) { closed() } else { Ok(()) }
    }

    /// What those hear who come after the writer's end.
    pub(super) fn ended<T>(&self) -> Result<T> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(Error::Poisoned("the catalog's thread ended in a panic".into()));
        }
        closed()
    }

    /// Takes in the counts of a head that was committed.
    pub(super) fn count(&self, head: &Head) {
        self.names.store(head.names, Ordering::Relaxed);
        self.pending.store(head.pending, Ordering::Relaxed);
        self.kept_gone.store(head.kept_gone, Ordering::Relaxed);
    }

    pub(super) fn figures(&self) -> CatalogFigures {
        let (database_bytes, aside_bytes) = exchange::allocated(&self.files);
        CatalogFigures {
            names: self.names.load(Ordering::Relaxed),
            pending: self.pending.load(Ordering::Relaxed),
            database_bytes,
            aside_bytes,
            journal_bytes: journal::allocated(&*self.disk),
            journal_complete: self.journal_complete.load(Ordering::Relaxed),
            damaged: self.damaged.load(Ordering::Relaxed),
            poisoned: self.poisoned.load(Ordering::Relaxed),
        }
    }

    /// Lack of space with the file system's figures, which SQLite's error does not have.
    pub(super) fn with_space(&self, error: Error) -> Error {
        crate::disk::with_space(&*self.disk, error)
    }
}

/// The same error for one more of those who share a transaction.
pub(super) fn another(error: &Error) -> Error {
    match error {
        Error::NoSpace { held, used, limit } => Error::NoSpace { held: *held, used: *used, limit: *limit },
        Error::Poisoned(why) => Error::Poisoned(why.clone()),
        Error::Damaged(what) => Error::Damaged(what.clone()),
        Error::Busy(why) => Error::Busy(why.clone()),
        other => Error::io("changing the catalog", std::io::Error::other(other.to_string())),
    }
}

fn closed<T>() -> Result<T> {
    Err(Error::Busy("the catalog is closed".into()))
}
