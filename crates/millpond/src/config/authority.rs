//! Authorities of others that vouch for clients, as a file names them.

use std::path::PathBuf;

use super::{Allowed, Given, Patterns};

/// An authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authority {
    /// What stands before the names of its clients.
    pub(crate) name: Given<String>,
    /// Its certificates.
    pub(crate) certificates: Given<PathBuf>,
    /// The lists of certificates that it has revoked.
    pub(crate) revoked: Option<Given<PathBuf>>,
    /// Whose certificates count; all if there is none.
    pub(crate) subjects: Option<Given<Patterns>>,
    /// What they may do.
    pub(crate) allow: Given<Allowed>,
    /// To which names; to all if there is none.
    pub(crate) names: Option<Given<Patterns>>,
    /// In which instances; in all if there is none.
    pub(crate) instances: Option<Given<Patterns>>,
}
