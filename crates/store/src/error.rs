//! What can go wrong in the store: few kinds, so that the domain can decide what each means to a client.

use std::io;

/// A result of the store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such blob: never there, let go, or found bad and therefore missing from now on.
    #[error("the blob is not there")]
    Missing,
    /// The bytes that came in are not those that the digest names.
    #[error("the content does not match its digest: {0}")]
    Mismatch(String),
    /// A blob larger than this store takes.
    #[error("{size} bytes are more than the {limit} bytes that this store takes in one blob")]
    TooLarge {
        /// Bytes announced or received.
        size: u64,
        /// Bytes that one blob may have.
        limit: u64,
    },
    /// No room. Heals by itself when there is room again.
    #[error("the store is full: {used} of {limit} bytes are in use")]
    NoSpace {
        /// Bytes in use, reservations included.
        used: u64,
        /// Bytes that may be in use.
        limit: u64,
    },
    /// A write or a sync failed on the disk: nothing is taken in until a restart, reads go on.
    #[error("the store takes nothing in since an earlier fault of its disk: {0}")]
    Poisoned(String),
    /// Too much going on of this kind; the sentence says what.
    #[error("{0}")]
    Busy(String),
    /// Data on the volume that fails its checksum and could not be worked around; the sentence says what.
    #[error("damaged: {0}")]
    Damaged(String),
    /// Another process holds the volume.
    #[error("the volume is in use by {}", pid.map_or("another process".to_owned(), |pid| format!("process {pid}")))]
    InUse {
        /// The process, where it could be found out.
        pid: Option<u32>,
    },
    /// A later release wrote this volume, in a format that this one cannot read.
    #[error("the volume has format {found}, this release knows formats up to {known}")]
    NewerFormat {
        /// The volume's format.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// The data directory cannot be made or written.
    #[error("the data directory cannot be written: {0}")]
    NotWritable(io::Error),
    /// The operating system said no.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, for the log.
        doing: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// SQLite said no.
    #[error("{doing}: {source}")]
    Sql {
        /// What was being done, for the log.
        doing: String,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

impl Error {
    /// An I/O error with what was being done.
    pub fn io(doing: impl Into<String>, source: io::Error) -> Self {
        Self::Io { doing: doing.into(), source }
    }
}
