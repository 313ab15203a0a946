//! Where a setting was given, so that what is refused later can still be told by its flag or its line.

use std::fmt;
use std::path::{Path, PathBuf};

/// A flag, or a line of the configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Given by this flag, or by nobody, and then this flag changes it.
    Flag(&'static str),
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
    /// The place of a key in the file at `path`, `offset` bytes into its text.
    pub(super) fn in_file(path: &Path, text: &str, offset: usize, key: &'static str) -> Self {
        Self::File { path: path.to_owned(), line: line_of(text, offset), key }
    }

    /// What is to be written there instead, for a hint: `--listen`, or `address in line 3`.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Flag(flag) => (*flag).to_owned(),
            Self::File { line, key, .. } => format!("{key} in line {line}"),
        }
    }
}

/// For the beginning of a sentence: `--listen`, or `pond.toml, line 3, address`.
impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => formatter.write_str(flag),
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
    /// One given by a flag, or a default.
    pub(crate) fn by_flag(flag: &'static str, value: T) -> Self {
        Self { value, place: Place::Flag(flag) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_say_flag_or_file_line_and_key() {
        let place = Place::in_file(Path::new("pond.toml"), "[store]\n\nlease = 1", 9, "lease");
        assert_eq!(place.to_string(), "pond.toml, line 3, lease");
        assert_eq!(place.name(), "lease in line 3");
        assert_eq!(Place::Flag("--lease").to_string(), "--lease");
    }
}
