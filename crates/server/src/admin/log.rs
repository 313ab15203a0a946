//! What is logged, changed while the server runs.

use std::fmt;
use std::sync::Arc;

use millpond_cache::{Error, Result};
use millpond_proto::admin as wire;

use crate::caller::Caller;

/// Takes another filter in, and says which was there before; or only that. An error is a sentence.
type Change = dyn Fn(Option<&str>) -> std::result::Result<String, String> + Send + Sync;

/// How that is done, by whoever set the log up.
#[derive(Clone, Default)]
pub struct LogControl(Option<Arc<Change>>);

impl LogControl {
    /// By calling this with another filter, or with none to hear which there is. It answers with the one before.
    pub fn new(
        change: impl Fn(Option<&str>) -> std::result::Result<String, String> + Send + Sync + 'static,
    ) -> Self {
        Self(Some(Arc::new(change)))
    }

    /// Sets another, and says which was there before.
    ///
    /// # Errors
    /// A sentence about what is no filter.
    pub fn change(&self, filter: &str) -> std::result::Result<String, String> {
        self.0.as_ref().map_or_else(|| Ok(String::new()), |change| change(Some(filter)))
    }

    /// Sets what is asked for, if anything is.
    pub(super) fn set(&self, caller: &Caller, asked: &wire::SetLogFilterRequest) -> Result<wire::LogFilter> {
        let Some(change) = &self.0 else {
            return Err(Error::Invalid("this server does not change what it logs while it runs".into()));
        };
        let wanted = Some(asked.filter.as_str()).filter(|filter| !filter.is_empty());
        let before = change(wanted).map_err(Error::Invalid)?;
        let filter = wanted.unwrap_or(&before).to_owned();
        if wanted.is_some() {
            tracing::warn!(before, filter, identity = caller.name(), "something else is logged from now on");
        }
        Ok(wire::LogFilter { filter, before })
    }
}

impl fmt::Debug for LogControl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("LogControl").field(&self.0.is_some()).finish()
    }
}
