//! What a check found: a verdict, a sentence, what to do, and figures for scripts.

use std::fmt;

use serde_json::{Map, Value, json};

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As it should be.
    Good,
    /// Somebody should look at it.
    Look,
    /// The server does not work as it should, or does not start.
    Bad,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Look => "look",
            Self::Bad => "bad",
        }
    }
}

/// What was found.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) verdict: Verdict,
    says: String,
    /// What to do about it; empty where nothing is to be done.
    remedy: String,
    figures: Map<String, Value>,
}

impl Finding {
    /// All is well.
    pub(super) fn good(check: &'static str, says: impl Into<String>) -> Self {
        Self::new(check, Verdict::Good, says, "")
    }

    /// Something to look at.
    pub(super) fn look(check: &'static str, says: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(check, Verdict::Look, says, remedy)
    }

    /// Something bad.
    pub(super) fn bad(check: &'static str, says: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(check, Verdict::Bad, says, remedy)
    }

    fn new(
        check: &'static str,
        verdict: Verdict,
        says: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { check, verdict, says: says.into(), remedy: remedy.into(), figures: Map::new() }
    }

    /// With a figure.
    pub(super) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.figures.insert(key.to_owned(), value.into());
        self
    }

    /// A figure that it has.
    pub(super) fn figure(&self, key: &str) -> Option<f64> {
        self.figures.get(key)?.as_f64()
    }

    pub(super) fn to_json(&self) -> Value {
        let Self { check, verdict, says, remedy, figures } = self;
        let remedy = (!remedy.is_empty()).then_some(remedy);
        json!({ "check": check, "verdict": verdict.word(), "says": says, "do": remedy, "figures": figures })
    }
}

/// A line, and one more with what to do.
impl fmt::Display for Finding {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { check, verdict, says, remedy, .. } = self;
        writeln!(to, "{:4}  {check:13}  {says}", verdict.word())?;
        if remedy.is_empty() { Ok(()) } else { writeln!(to, "{:21}do: {remedy}", "") }
    }
}
