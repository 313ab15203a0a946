//! The plan: what the rules make of each value, found by reading all values twice.
//!
//! It follows from the rows, the rules and the time alone, and is the same for whoever asks: the dry run tells it, and the
//! real run does it.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use millpond_store::Level;
use millpond_store::catalog::{Target, Value};

use super::{BuildOutcome, Described, Retention, RetentionRule};

/// What becomes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is kept until then, by the rule at this place.
    Kept(usize, Level),
    /// It goes at once, by the rule at this place, and its last use does not count.
    Goes(usize),
    /// It stays until space is needed and it was used least recently; by the rule at this place, if one matches.
    Free(Option<usize>),
}

impl Fate {
    /// Until when it is kept; the lowest level if it is not.
    pub(crate) fn kept_until(self) -> Level {
        if let Self::Kept(_, until) = self { until } else { Level::ZERO }
    }
}

/// What is to be known of all values before the fate of one is.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    hasher: RandomState,
    /// Values that were touched after this time may have come while others were read: whether they are among the newest
    /// is not known.
    since: Level,
    /// By rule and element: the artifacts pushed last, each with when that was, in Unix seconds; the oldest first.
    newest: HashMap<(usize, u64), Vec<(u64, u64)>>,
}

impl Plan {
    /// A plan of what was touched at this time or earlier, and of what else is found.
    pub(crate) fn begin(since: Level) -> Self {
        Self { since, ..Self::default() }
    }

    /// Takes a value in, which [`Plan::fate`] may be asked about once all were.
    pub(crate) fn note(&mut self, retention: &Retention, value: &Value, outcome: Option<BuildOutcome>) {
        let described = Described::of(&value.name);
        let Some((place, rule)) = retention.rule(&described, outcome) else { return };
        let Some((element, artifact)) = self.counted(rule, &described, value) else { return };
        let newest = self.newest.entry((place, element)).or_default();
        // Of the several pushes of one artifact the last counts.
        if let Some(known) = newest.iter_mut().find(|(_, known)| *known == artifact) {
            known.0 = known.0.max(value.pushed);
        } else {
            newest.push((value.pushed, artifact));
        }
        newest.sort_unstable();
        let most = rule.keep_newest.map_or(0, |count| usize::try_from(count).unwrap_or(usize::MAX));
        newest.drain(..newest.len().saturating_sub(most));
    }

    /// What becomes of a value at `now`, in Unix seconds.
    pub(crate) fn fate(
        &self,
        retention: &Retention,
        value: &Value,
        outcome: Option<BuildOutcome>,
        now: u64,
    ) -> Fate {
        let described = Described::of(&value.name);
        let Some((place, rule)) = retention.rule(&described, outcome) else { return Fate::Free(None) };
        let is_newest = self.counted(rule, &described, value).is_some_and(|(element, artifact)| {
            let newest = self.newest.get(&(place, element));
            newest.is_some_and(|newest| newest.iter().any(|(_, known)| *known == artifact))
        });
        let until = if is_newest { Level::PINNED } else { rule.kept_until(value.pushed) };
        if until > Level::from_unix(now) {
            return Fate::Kept(place, until);
        }
        match rule.let_go_after {
            Some(after) if value.pushed.saturating_add(after.into()) <= now => Fate::Goes(place),
            _ => Fate::Free(Some(place)),
        }
    }

    /// Whether a value may be among the newest, though it came too late to be found.
    pub(crate) fn may_be_newest(&self, retention: &Retention, value: &Value) -> bool {
        let described = Described::of(&value.name);
        value.touched() > self.since && retention.rules.iter().any(|rule| rule.counts_newest(&described))
    }

    /// Element and artifact, hashed, of what a rule counts.
    fn counted(&self, rule: &RetentionRule, described: &Described<'_>, value: &Value) -> Option<(u64, u64)> {
        if !rule.counts_newest(described) {
            return None;
        }
        let (Target::Blob(digest) | Target::Directory(digest)) = &value.target else { return None };
        let element = (&value.name.instance, described.artifact()?);
        Some((self.hasher.hash_one(element), self.hasher.hash_one(digest)))
    }
}
