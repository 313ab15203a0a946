//! What can go wrong in the domain: one kind for each thing a client should do next.

use millpond_store::{Digest, Held};

/// A result of the domain.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the cache did not do it. The sentences are what users read: first what is wrong, then what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not there: never was, let go, expired, or not whole any more. A client builds it, or uploads it.
    #[error("{0} is not in the cache")]
    NotFound(String),
    /// A name was pushed whose blobs are not all there.
    #[error("{count} blobs are missing, among them {}: upload them, then push the name again", list(missing))]
    Incomplete {
        /// The first few missing blobs.
        missing: Vec<Digest>,
        /// How many are known to be missing.
        count: u64,
    },
    /// The listener or the identity may not do this.
    #[error("{0}")]
    Denied(String),
    /// A credential that does not hold, or none where one is needed.
    #[error("{0}")]
    Unauthenticated(String),
    /// What came in is malformed; repeating it will not help.
    #[error("{0}")]
    Invalid(String),
    /// A position outside the blob.
    #[error("{0}")]
    OutOfRange(String),
    /// No room for what came in.
    #[error("{}, {used} of {limit} bytes are in use: {}", held.words(), remedy(*held))]
    NoSpace {
        /// What holds it.
        held: Held,
        /// Bytes in use, reservations included.
        used: u64,
        /// Bytes that may be in use.
        limit: u64,
    },
    /// No room for what came in, since rules keep what takes it.
    #[error(
        "the cache is full, {used} of {limit} bytes are in use, and {kept} bytes of that are kept by {rules}: its operator can keep less, raise max-size or free space on its volume"
    )]
    FullOfKept {
        /// Bytes in use, reservations included.
        used: u64,
        /// Bytes that may be in use.
        limit: u64,
        /// Bytes of what is kept.
        kept: u64,
        /// By what.
        rules: String,
    },
    /// Keeping this as well would leave too little for everything else.
    #[error(
        "this would keep {more} bytes more, and {kept} bytes are kept already: at most {most} of the {room} bytes that blobs may take can be kept; keep less, or raise max-size"
    )]
    TooMuchToKeep {
        /// Bytes that nothing keeps yet.
        more: u64,
        /// Bytes that something keeps.
        kept: u64,
        /// Bytes that may be kept.
        most: u64,
        /// Bytes that blobs may take.
        room: u64,
    },
    /// One blob larger than this cache takes.
    #[error(
        "a blob of {size} bytes is larger than the {limit} bytes that this cache takes in one blob: its operator can raise max_size, or max_cas_blob_size if that is set"
    )]
    TooLarge {
        /// Bytes announced or received.
        size: u64,
        /// Bytes that one blob may have.
        limit: u64,
    },
    /// Too much going on, or not ready: worth trying again.
    #[error("{0}")]
    Busy(String),
    /// The disk failed: nothing is taken in until a restart, pulls go on.
    #[error("this cache takes nothing in since a fault of its disk, pulls go on: its operator has to look")]
    Poisoned,
    /// What lies elsewhere than in the data directory could not be read or written; the operator chose where.
    #[error("{0}")]
    Elsewhere(String),
    /// A fault of ours or of the machine. The source is for the log, never for the client.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// An internal error from any cause.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }
}

/// What an operator can do about lack of room.
fn remedy(held: Held) -> &'static str {
    match held {
        Held::Limit | Held::Names => "raise max-size or free space on its volume",
        Held::Lease => "raise max-size, or set a shorter lease",
        Held::Uploads => "send fewer at a time, or raise max-size",
        Held::KeptFree => "make room on it, or leave less by keep-free",
        Held::FileSystem => "make room on it",
    }
}

fn list(digests: &[Digest]) -> String {
    digests.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl From<millpond_store::Error> for Error {
    fn from(error: millpond_store::Error) -> Self {
        use millpond_store::Error as Store;
        match error {
            Store::Missing => Self::NotFound("the blob".into()),
            Store::Mismatch(what) => Self::Invalid(format!("the content does not match its digest: {what}")),
            Store::TooLarge { size, limit } => {
                crate::Limit::MaxCasBlobSize.met();
                Self::TooLarge { size, limit }
            }
            Store::NoSpace { held, used, limit } => Self::NoSpace { held, used, limit },
            Store::Poisoned(_) => Self::Poisoned,
            Store::Busy(what) => Self::Busy(what),
            Store::Refused(what) => Self::Invalid(what),
            other => Self::internal(other),
        }
    }
}

/// Why a cache could not be opened. Each kind has a remedy of its own.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process serves this data directory.
    #[error("the data directory is in use by {}", holder(*pid))]
    InUse {
        /// That process, if it wrote its number down.
        pid: Option<u32>,
    },
    /// Written by a later release.
    #[error("the data directory has format {found}, and this release knows formats up to {known}")]
    NewerFormat {
        /// The format found.
        found: u32,
        /// The newest format this release reads.
        known: u32,
    },
    /// Written by an earlier release, and not to be raised to the format of this one.
    #[error("the data directory has a catalog of format {found}, and this release writes format {known}")]
    OlderFormat {
        /// The format found.
        found: u32,
        /// The format that it would be raised to.
        known: u32,
    },
    /// The directory or its file system cannot be written.
    #[error("the data directory cannot be written: {0}")]
    NotWritable(std::io::Error),
    /// An option is malformed.
    #[error("{0}")]
    Invalid(String),
    /// The file system has no room for the little that a start writes.
    #[error("the file system is full, {used} of {limit} bytes are in use")]
    Full {
        /// Bytes in use.
        used: u64,
        /// Bytes that it has.
        limit: u64,
    },
    /// Anything else.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}
