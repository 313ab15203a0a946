//! What can go wrong in the store: few kinds, so that the domain can decide what each means to a client.

use std::io;

use crate::disk::DiskSpace;

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
    #[error("{}: {used} of {limit} bytes are in use", held.words())]
    NoSpace {
        /// What holds it.
        held: Held,
        /// Bytes in use, reservations included; of the file system where that is full.
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
    /// What was asked for is not done to what is there; the sentence says why.
    #[error("{0}")]
    Refused(String),
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
    /// An earlier release wrote this volume, and it is not to be raised to the format of this one.
    #[error("the catalog has format {found}, and this release writes format {known}")]
    OlderFormat {
        /// The catalog's format.
        found: u32,
        /// The one that it would be raised to.
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

/// What holds the room that was not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// What is in the store, up to its limit.
    Limit,
    /// What is in the store and still promised: nothing of it may go.
    Lease,
    /// Unfinished uploads, up to what they may take together.
    Uploads,
    /// Names, up to what they may take.
    Names,
    /// Others, on the file system, down to what is to be left to them.
    KeptFree,
    /// Others, on the file system, to its last bytes.
    FileSystem,
}

impl Held {
    /// What is full of what.
    pub fn words(self) -> &'static str {
        match self {
            Self::Limit => "the cache is full",
            Self::Lease => "the cache is full of what is in use, and nothing of it may go yet",
            Self::Uploads => "unfinished uploads take all that they may together",
            Self::Names => "names take all that they may",
            Self::KeptFree => "the file system has no more than is to be left to others",
            Self::FileSystem => "the file system is full",
        }
    }
}

impl Error {
    /// The file system is full.
    pub(crate) fn disk_full(space: DiskSpace) -> Self {
        let used = space.total.saturating_sub(space.available);
        Self::NoSpace { held: Held::FileSystem, used, limit: space.total }
    }

    /// An I/O error with what was being done.
    pub fn io(doing: impl Into<String>, source: io::Error) -> Self {
        Self::Io { doing: doing.into(), source }
    }
}
