//! Where a setting was given, so that what is refused later can still be told by its flag or its line.

use std::fmt;
use std::path::PathBuf;

/// The layer that gave a setting, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Given by this flag.
    Flag(&'static str),
    /// Given by nobody; this flag or key changes it.
    Default(&'static str),
    /// Given by this environment variable.
    Variable(&'static str),
    /// Given in a file.
    File {
        /// The file as `--config` names it.
        path: PathBuf,
        /// From 1 on.
        line: usize,
        /// The key in its section.
        key: &'static str,
    },
}

impl Place {
    /// What is to be written there instead, for a hint: `--listen`, or `address in line 3`.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Flag(name) | Self::Default(name) | Self::Variable(name) => (*name).to_owned(),
            Self::File { line, key, .. } => format!("{key} in line {line}"),
        }
    }

    /// For `config show`: `flag --listen`, `default`, `MILLPOND__LISTEN`, or `pond.toml:3`.
    pub(super) fn layer(&self) -> String {
        match self {
            Self::Flag(flag) => format!("flag {flag}"),
            Self::Default(_) => "default".to_owned(),
            Self::Variable(name) => format!("environment {name}"),
            Self::File { path, line, .. } => format!("{}:{line}", path.display()),
        }
    }
}

/// For the beginning of a sentence: `--listen`, or `pond.toml, line 3, address`.
impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) | Self::Default(name) | Self::Variable(name) => formatter.write_str(name),
            Self::File { path, line, key } => write!(formatter, "{}, line {line}, {key}", path.display()),
        }
    }
}

/// The line of a byte of a text, from 1 on.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// A setting and where it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given<T> {
    /// The setting.
    pub(crate) value: T,
    /// Where it was given.
    pub(crate) place: Place,
}

impl<T> Given<T> {
    /// One given by a flag.
    pub(crate) fn by_flag(flag: &'static str, value: T) -> Self {
        Self { value, place: Place::Flag(flag) }
    }

    /// A default, which this flag or key changes.
    pub(super) fn default(name: &'static str, value: T) -> Self {
        Self { value, place: Place::Default(name) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_say_flag_or_file_line_and_key() {
        let place =
            Place::File { path: "pond.toml".into(), line: line_of("[store]\n\nlease = 1", 9), key: "lease" };
        assert_eq!(place.to_string(), "pond.toml, line 3, lease");
        assert_eq!(place.name(), "lease in line 3");
        assert_eq!(place.layer(), "pond.toml:3");
        assert_eq!(Place::Flag("--lease").to_string(), "--lease");
    }
}
