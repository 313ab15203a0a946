//! Rules about what is kept and what goes early, as a file writes them.

use millpond_cache::{BuildOutcome, Keep, KeptKind, RetentionRule};
use serde::Deserialize;

use super::replacement::{Names, words};
use super::{Given, Place};
use crate::size::Size;
use crate::span::Span;

/// A rule. What is not given leaves out nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Retention {
    /// In which instances.
    pub(crate) instance: Option<Given<Names>>,
    /// Of what kind.
    pub(crate) kind: Option<Given<Kind>>,
    /// Artifacts of which projects.
    pub(crate) project: Option<Given<Names>>,
    /// And of which elements.
    pub(crate) element: Option<Given<Names>>,
    /// With which names.
    pub(crate) names: Option<Given<Names>>,
    /// Artifacts of builds that ended how.
    pub(crate) outcome: Option<Given<Outcome>>,
    /// For how long they are kept.
    pub(crate) keep: Option<Given<KeptFor>>,
    /// How many artifacts of each element are kept.
    pub(crate) keep_newest: Option<Given<u32>>,
    /// How long after their push they go.
    pub(crate) let_go_after: Option<Given<LetGoAfter>>,
    /// How many bytes of them stay.
    pub(crate) at_most: Option<Given<Size>>,
}

impl Retention {
    /// For the cache.
    pub(crate) fn rule(&self) -> RetentionRule {
        let pattern = |names: &Option<Given<Names>>| names.as_ref().map(|names| names.value.0.clone());
        RetentionRule {
            instance: pattern(&self.instance),
            kind: self.kind.as_ref().map(|kind| kind.value.0),
            project: pattern(&self.project),
            element: pattern(&self.element),
            names: pattern(&self.names),
            outcome: self.outcome.as_ref().map(|outcome| outcome.value.0),
            keep: self.keep.as_ref().map(|keep| keep.value.0),
            keep_newest: self.keep_newest.as_ref().map(|count| count.value),
            let_go_after: self.let_go_after.as_ref().map(|after| after.value.0),
            at_most: self.at_most.as_ref().map(|size| size.value.0),
        }
    }

    /// Whether it says what becomes of what it matches.
    pub(crate) fn acts(&self) -> bool {
        let Self { keep, keep_newest, let_go_after, at_most, .. } = self;
        keep.is_some() || keep_newest.is_some() || let_go_after.is_some() || at_most.is_some()
    }

    /// Where the first thing stands that it says; `None` if it says nothing.
    pub(crate) fn place(&self) -> Option<&Place> {
        let of_names = [&self.instance, &self.project, &self.element, &self.names];
        let of_names = of_names.into_iter().flatten().map(|given| &given.place);
        let others =
            self.kind.iter().map(|given| &given.place).chain(self.outcome.iter().map(|given| &given.place));
        of_names.chain(others).next()
    }
}

words!(
    /// What names are.
    Kind(KeptKind), "no kind of name",
    ["artifact" => KeptKind::Artifact, "source" => KeptKind::Source, "action-result" => KeptKind::ActionResult,
     "asset" => KeptKind::Asset]
);
words!(
    /// How a build ended.
    Outcome(BuildOutcome), "no outcome of a build",
    ["success" => BuildOutcome::Success, "failure" => BuildOutcome::Failure]
);

/// For how long something is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct KeptFor(pub(crate) Keep);

impl KeptFor {
    /// In seconds; `None` for ever.
    pub(crate) fn seconds(self) -> Option<u32> {
        match self.0 {
            Keep::Seconds(seconds) => Some(seconds),
            Keep::Forever => None,
        }
    }
}

impl std::str::FromStr for KeptFor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.to_owned().try_into()
    }
}

impl TryFrom<String> for KeptFor {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.trim() == "forever" {
            return Ok(Self(Keep::Forever));
        }
        let span: Result<Span, String> = text.parse();
        span.map(|span| Self(Keep::Seconds(span.seconds)))
            .map_err(|complaint| format!("{complaint}, or \"forever\""))
    }
}

impl std::fmt::Display for KeptFor {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Keep::Forever => to.write_str("forever"),
            Keep::Seconds(seconds) => Span { seconds }.fmt(to),
        }
    }
}

/// How long after a push, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct LetGoAfter(pub(crate) u32);

impl TryFrom<String> for LetGoAfter {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(|span: Span| Self(span.seconds))
    }
}

impl std::fmt::Display for LetGoAfter {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Span { seconds: self.0 }.fmt(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_out_or_in_short() {
        for (text, seconds) in [
            ("2 years", 2 * 365 * 86_400),
            ("1 year", 365 * 86_400),
            ("2y", 2 * 365 * 86_400),
            ("3 months", 90 * 86_400),
            ("1 week", 7 * 86_400),
            ("12h", 43_200),
            ("7d", 7 * 86_400),
        ] {
            assert_eq!(KeptFor::try_from(text.to_owned()), Ok(KeptFor(Keep::Seconds(seconds))));
            let again = KeptFor(Keep::Seconds(seconds)).to_string();
            assert_eq!(KeptFor::try_from(again), Ok(KeptFor(Keep::Seconds(seconds))));
        }
        assert_eq!(KeptFor::try_from("forever".to_owned()), Ok(KeptFor(Keep::Forever)));
        for text in ["", "2", "2 parsecs", "years", "900 years", "-1 day"] {
            assert!(KeptFor::try_from(text.to_owned()).unwrap_err().contains("\"forever\""), "{text}");
        }
        assert!(LetGoAfter::try_from("forever".to_owned()).is_err());
    }
}
