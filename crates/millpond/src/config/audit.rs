//! How much is kept of who did what.

use std::fmt;

use serde::Deserialize;

use crate::size::Size;

/// A size, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub(crate) enum Keep {
    /// Nothing is written down.
    Off,
    /// About so much.
    Size(Size),
}

/// How a configuration file has it.
#[derive(Deserialize)]
#[serde(untagged, expecting = "give a number of bytes, text such as \"1GB\", or \"off\"")]
enum Written {
    Bytes(u64),
    Text(String),
}

impl TryFrom<Written> for Keep {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Bytes(bytes) => Ok(Self::Size(Size(bytes))),
            Written::Text(text) if text == "off" => Ok(Self::Off),
            Written::Text(text) => text.parse().map(Self::Size),
        }
    }
}

/// As a configuration file has it, without a unit, which would round.
impl fmt::Display for Keep {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => to.write_str("\"off\""),
            Self::Size(Size(bytes)) => bytes.fmt(to),
        }
    }
}
