//! What single identities may take up, as a file says it.

use super::Given;
use super::replacement::Names;
use crate::size::Size;

/// A quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    /// Which identities.
    pub(crate) identities: Given<Names>,
    /// Requests in a minute.
    pub(crate) requests_per_minute: Option<Given<u32>>,
    /// Bytes of uploads in a day.
    pub(crate) upload_per_day: Option<Given<Size>>,
}
