//! How much the data directory may take: bytes, or a share of its file system.

use std::fmt;
use std::str::FromStr;

use millpond_cache::MaxSize;
use serde::Deserialize;

use crate::size::Size;

/// `max_size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub(crate) enum Limit {
    /// So many bytes.
    Bytes(Size),
    /// So many percent of the file system, from 1 to 100.
    Percent(u8),
}

/// How a configuration file has it.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a limit is a number of bytes or text such as \"500GB\" or \"80%\"")]
enum Written {
    Bytes(u64),
    Text(String),
}

impl TryFrom<Written> for Limit {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Bytes(bytes) => Ok(Self::Bytes(Size(bytes))),
            Written::Text(text) => text.parse(),
        }
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(percent) = text.trim().strip_suffix('%') else { return text.parse().map(Self::Bytes) };
        match percent.trim_end().parse() {
            Ok(percent @ 1..=100) => Ok(Self::Percent(percent)),
            _ => Err(format!("\"{text}\" is no share of a file system: write 1% to 100%")),
        }
    }
}

impl Limit {
    /// As the cache takes it.
    pub(crate) fn max_size(self) -> MaxSize {
        match self {
            Self::Bytes(size) => MaxSize::Bytes(size.0),
            Self::Percent(percent) => MaxSize::Percent(percent),
        }
    }
}

/// As a file has it.
impl fmt::Display for Limit {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(Size(bytes)) => write!(to, "{bytes}"),
            Self::Percent(percent) => write!(to, "\"{percent}%\""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_bytes_or_a_share() {
        assert_eq!("60MB".parse(), Ok(Limit::Bytes(Size(60_000_000))));
        assert_eq!("80%".parse(), Ok(Limit::Percent(80)));
        assert_eq!(" 5 %".parse(), Ok(Limit::Percent(5)));
        for text in ["0%", "101%", "%", "8.5%", "-5%", "many"] {
            assert!(text.parse::<Limit>().is_err(), "{text}");
        }
        assert_eq!(Limit::Percent(80).to_string(), "\"80%\"");
        assert_eq!(Limit::Bytes(Size(7)).to_string(), "7");
    }
}
