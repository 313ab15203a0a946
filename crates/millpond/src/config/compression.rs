//! When blobs are compressed.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// `compression`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum Compression {
    /// Blobs lie as they came.
    Off,
    /// With zstd, before they are written, where that pays.
    AtOnce,
    /// The same, when they were written long ago.
    Cold,
}

impl FromStr for Compression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "at-once" => Ok(Self::AtOnce),
            "cold" => Ok(Self::Cold),
            _ => Err(format!("\"{text}\" is no way to compress: write \"off\", \"at-once\" or \"cold\"")),
        }
    }
}

impl TryFrom<String> for Compression {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Off => "off",
            Self::AtOnce => "at-once",
            Self::Cold => "cold",
        })
    }
}
