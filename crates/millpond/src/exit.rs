//! How a command ends: a sentence with the remedy for the person, a code for the script.
//!
//! Every command that ends badly does so through a [`Failure`], so that no code and no remedy is made up elsewhere.

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
    /// There is no data directory.
    NoVolume = 10,
    /// Another process has the volume open.
    VolumeInUse = 11,
    /// A newer Millpond wrote the volume.
    NewerFormat = 12,
    /// The data directory cannot be made or written.
    NotWritable = 13,
    /// Something else listens there.
    AddressInUse = 14,
    /// No server runs there.
    NotRunning = 15,
}

/// Every code with its meaning.
pub(crate) const MEANINGS: [(u8, &str); 10] = [
    (0, "ended as asked"),
    (Code::Failed as u8, "failed, or was ended by a second signal before it was through"),
    (Code::Usage as u8, "the command line or the configuration asks for what is not to be had"),
    (Code::Findings as u8, "done, and something was found wrong"),
    (Code::NoVolume as u8, "there is no data directory"),
    (Code::VolumeInUse as u8, "another process has the volume open"),
    (Code::NewerFormat as u8, "the volume was written by a newer version"),
    (Code::NotWritable as u8, "the data directory cannot be made or written"),
    (Code::AddressInUse as u8, "an address is in use"),
    (Code::NotRunning as u8, "no server runs there"),
];

/// The part of a command's `--help` that names its exit codes.
pub(crate) fn help() -> String {
    let lines = MEANINGS.iter().map(|(code, meaning)| format!("\n  {code:2}  {meaning}"));
    format!("Exit codes:{}", lines.collect::<String>())
}

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

    /// Sentence and remedy, for who is told elsewhere than on a terminal.
    pub(crate) fn in_one(&self) -> String {
        let Self { sentence, hint, .. } = self;
        if hint.is_empty() { sentence.clone() } else { format!("{sentence}; {hint}") }
    }

    /// The remedy, empty where there is none.
    pub(crate) fn remedy(&self) -> &str {
        &self.hint
    }

    /// Whether it ends with this code.
    pub(crate) fn is(&self, code: Code) -> bool {
        self.code == code
    }

    /// The same, ending with another code.
    pub(crate) fn with_code(self, code: Code) -> Self {
        Self { code, ..self }
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
    fn documents_give_each_code_the_same_meaning() {
        let words: Vec<_> = include_str!("../../../docs/configuration.md").split_whitespace().collect();
        let document = words.join(" ");
        for (code, meaning) in MEANINGS {
            let whole = [',', '.'].map(|end| document.contains(&format!("{code} {meaning}{end}")));
            assert!(whole.contains(&true), "{code} {meaning}");
        }
    }

    #[test]
    fn failure_is_a_sentence_and_a_hint() {
        let failure = Failure::new(Code::Usage, "nothing listens", "give --listen");
        assert_eq!(failure.to_string(), "error: nothing listens\nhint: give --listen");
    }
}
