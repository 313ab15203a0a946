//! In how much time all blobs are read again.

use std::fmt;

use serde::Deserialize;

use crate::span::Span;

/// A time, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum Scrub {
    /// Never.
    Off,
    /// Once in so much time.
    Each(Span),
}

impl TryFrom<String> for Scrub {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "off" { Ok(Self::Off) } else { text.parse().map(Self::Each) }
    }
}

impl fmt::Display for Scrub {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => to.write_str("off"),
            Self::Each(span) => span.fmt(to),
        }
    }
}
