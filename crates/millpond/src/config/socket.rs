//! Where a server that runs is administered: a socket of this machine, or none.

use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;

/// The socket, as it is given.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub(crate) enum Socket {
    /// None.
    Off,
    /// At this path.
    At(PathBuf),
}

impl Socket {
    /// The same, where relative paths are meant from this folder.
    pub(super) fn below(self, folder: &Path) -> Self {
        match self {
            Self::At(path) if !path.as_os_str().is_empty() => Self::At(folder.join(path)),
            same => same,
        }
    }
}

impl From<String> for Socket {
    fn from(text: String) -> Self {
        if text == "off" { Self::Off } else { Self::At(text.into()) }
    }
}

impl FromStr for Socket {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.to_owned().into())
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => to.write_str("off"),
            Self::At(path) => path.display().fmt(to),
        }
    }
}
