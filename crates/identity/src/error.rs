//! What can go wrong with the keys' directory.

use std::io;
use std::path::{Path, PathBuf};

/// Why something about keys could not be done: a sentence, and [`Error::remedy`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file does not hold what it should.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong, and where in it.
        reason: String,
    },
    /// Certificates that were handed over cannot be read.
    #[error("{0}")]
    Certificates(String),
    /// Lists of revoked certificates that were handed over cannot be read.
    #[error("{0}")]
    Lists(String),
    /// A later release wrote the register.
    #[error("{} has format {found}, this release knows formats up to {known}", path.display())]
    NewerFormat {
        /// The register.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest format known here.
        known: u64,
    },
    /// What was asked for cannot be had, as things stand.
    #[error("{sentence}")]
    Unwanted {
        /// Why.
        sentence: String,
        /// What to do.
        remedy: String,
    },
    /// The operating system said no.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// No key or certificate came of it.
    #[error("no key or certificate could be made: {0}")]
    Making(String),
}

impl Error {
    /// What to do about it, without a full stop at the end.
    pub fn remedy(&self) -> String {
        match self {
            Self::Malformed { .. } => {
                "take the file from a backup, or put in order what is named here".into()
            }
            Self::Certificates(_) => {
                "give certificates in PEM, one after the other, from -----BEGIN CERTIFICATE----- on".into()
            }
            Self::Lists(_) => "give lists (CRLs) of version 2 as RFC 5280 has them: in PEM, one after the other, from -----BEGIN \
                               X509 CRL----- on, or one in DER; without any, leave revoked out"
                .into(),
            Self::NewerFormat { .. } => "run the release of Millpond that wrote it, or a newer one".into(),
            Self::Unwanted { remedy, .. } => remedy.clone(),
            Self::Io { .. } => {
                "run it as the user of the server, with a directory of keys that this user may read and write"
                    .into()
            }
            Self::Making(_) => "try it with other names or fewer days".into(),
        }
    }

    pub(crate) fn unwanted(sentence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Unwanted { sentence: sentence.into(), remedy: remedy.into() }
    }

    pub(crate) fn malformed(path: &Path, reason: impl Into<String>) -> Self {
        Self::Malformed { path: path.to_owned(), reason: reason.into() }
    }

    /// An I/O error of something done with a path.
    pub(crate) fn io(path: &Path, doing: &str) -> impl FnOnce(io::Error) -> Self {
        let doing = format!("{} cannot be {doing}", path.display());
        move |source| Self::Io { doing, source }
    }
}

impl From<rcgen::Error> for Error {
    fn from(error: rcgen::Error) -> Self {
        Self::Making(error.to_string())
    }
}
