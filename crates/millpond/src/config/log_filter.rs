//! What is logged, as a file says it.

use std::fmt;

use serde::Deserialize;

use crate::logging;

/// A level or a list of levels that can be followed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct LogFilter(pub(crate) String);

impl TryFrom<String> for LogFilter {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        logging::is_filter(&text).map(|()| Self(text))
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}
