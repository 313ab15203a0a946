//! How a command ends: a sentence with the remedy for the person, a code for the script.
//!
//! Every command that ends badly does so through a [`Failure`], so that no code and no remedy is made up elsewhere.
//! Code 10 (no volume there) belongs to this table too: it is taken up with the first command that can end so.

use std::fmt;
use std::process::ExitCode;

/// What a command that did not succeed ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    /// Anything that has no code of its own.
    Failed = 1,
    /// The command line or the configuration asks for what is not to be had.
    Usage = 2,
    /// Done, and something was found wrong.
    Findings = 3,
    /// Another process has the volume open.
    VolumeInUse = 11,
    /// A newer Millpond wrote the volume.
    NewerFormat = 12,
    /// The data directory cannot be made or written.
    NotWritable = 13,
    /// Something else listens there.
    AddressInUse = 14,
}

/// The part of a command's `--help` that names its exit codes.
pub(crate) const HELP: &str = "\
Exit codes:
   0  ended as asked
   1  failed
   2  the command line or the configuration asks for what is not to be had
   3  done, and something was found wrong
  11  another process has the volume open
  12  the volume was written by a newer version
  13  the data directory cannot be made or written
  14  an address is in use";

/// Why a command ends, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    code: Code,
    sentence: String,
    hint: String,
}

impl Failure {
    /// `sentence` says what is wrong with its figures, `hint` what to do; both without a full stop at the end.
    pub(crate) fn new(code: Code, sentence: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, sentence: sentence.into(), hint: hint.into() }
    }

    /// What is wrong, without the remedy.
    pub(crate) fn sentence(&self) -> &str {
        &self.sentence
    }

    /// The code that the process ends with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "error: {}", self.sentence)?;
        if !self.hint.is_empty() {
            write!(formatter, "\nhint: {}", self.hint)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_each_code() {
        let codes = [
            Code::Failed,
            Code::Usage,
            Code::Findings,
            Code::VolumeInUse,
            Code::NewerFormat,
            Code::NotWritable,
            Code::AddressInUse,
        ];
        for code in codes {
            assert!(HELP.contains(&format!("\n{:4}  ", code as u8)), "{code:?}");
        }
    }

    #[test]
    fn failure_is_a_sentence_and_a_hint() {
        let failure = Failure::new(Code::Usage, "nothing listens", "give --listen");
        assert_eq!(failure.to_string(), "error: nothing listens\nhint: give --listen");
    }
}
