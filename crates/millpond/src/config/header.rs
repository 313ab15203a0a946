//! Names of HTTP headers in a file.

use std::fmt::{self, Display};

use serde::Deserialize;

/// The name of an HTTP header.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Header(pub(crate) http::HeaderName);

impl TryFrom<String> for Header {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let unknown = |_| format!("\"{text}\" is no name of a header: write it as in x-client-cert");
        text.parse().map(Self).map_err(unknown)
    }
}

impl Display for Header {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(to)
    }
}
